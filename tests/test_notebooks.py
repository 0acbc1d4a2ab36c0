"""The notebooks of the documentation: each runs, made small, and is the same as Markdown and for Jupyter."""

import json
import re
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs" / "notebooks").glob("*.md"))
NEEDS = {"detect": "detectron2"}
SHORTER = {  # what makes the work small
    '"mixnet_s", "weights": "none", "image_size": 32, "epochs": 10': '"mobilenetv3_small_050", "weights": "none", '
    '"image_size": 32, "epochs": 1',
    '"epochs": 5, "seeds": 2': '"epochs": 1, "seeds": 1',
    "train=200, test=50": "train=12, test=4",
    '"efficientnet_lite0", "image_size": 224, "iterations": 300': '"mobilenetv3_small_050", "weights": "none", '
    '"image_size": 96, "batch_size": 4, "iterations": 4',
    "eval_every=100": "eval_every=2",
    "rounds=5": "rounds=1",
}


def cells(notebook: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)\n```", notebook.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs(notebook, tmp_path, monkeypatch, in_process, capsys):
    pytest.importorskip("onnx", reason="needs the extra mixtransfer[export]")
    pytest.importorskip(NEEDS.get(notebook.stem, "json"))
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for cell in cells(notebook):
        for long, short in SHORTER.items():
            cell = cell.replace(long, short)
        exec(cell, names)
    assert capsys.readouterr().out.strip() and list(tmp_path.glob("runs/notebook-*/report.html"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_for_jupyter_is_its_pair(notebook):
    """`make notebooks` writes it."""
    pair = json.loads(notebook.with_suffix(".ipynb").read_text(encoding="utf-8"))
    assert pair["nbformat"] == 4 and pair["metadata"]["kernelspec"]["name"] == "python3"
    code = ["".join(cell["source"]) for cell in pair["cells"] if cell["cell_type"] == "code"]
    assert code == cells(notebook)
    text = re.sub(r"\A---\n.*?\n---\n", "", notebook.read_text(encoding="utf-8"), flags=re.DOTALL)
    prose = re.sub(r"^```python\n.*?\n```$", "", text, flags=re.MULTILINE | re.DOTALL)
    words = " ".join("".join(cell["source"]) for cell in pair["cells"] if cell["cell_type"] == "markdown")
    assert prose.split() == words.split()
    assert not any(cell.get("outputs") for cell in pair["cells"])


def test_what_makes_it_small_is_in_the_notebooks():
    text = "".join(path.read_text(encoding="utf-8") for path in NOTEBOOKS)
    assert len(NOTEBOOKS) == 3 and all(long in text for long in SHORTER)
