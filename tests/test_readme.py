"""The README and the recipes: every command in them is one that the program takes, every file is there."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest
from folders import make_folder
from PIL import Image

from mixtransfer.arguments import parse
from mixtransfer.cli import VERBS, _load, _verb, _with_recipes, main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RECIPES = sorted(path for path in (ROOT / "configs").rglob("*.[yp][ay]*") if path.parent.name != "common")
TINY = shlex.split("--weights none --epochs 1 --image-size 32 --batch-size 16 --workers 0")


def commands() -> list[str]:
    """Every line of the README's shell blocks, and the command in the head of each recipe."""
    blocks = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    for config in sorted((ROOT / "configs").rglob("*.[yp][ay]*")):
        lines += [line[1:].strip() for line in config.read_text().splitlines() if line.startswith("#   mixtransfer ")]
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("line", [line for line in commands() if line.startswith("mixtransfer ")])
def test_command_parses(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = shlex.split(line, comments=True)[1:]
    name, rest = _verb(words)
    if name is None:
        return
    if any(word.endswith(".py") for word in rest):
        pytest.importorskip("detectron2", reason="detectron2 is not installed: python tools/install_detectron2.py")
    parse(name, _load(VERBS[name].options), VERBS[name].positionals, _with_recipes(VERBS[name], rest))


@pytest.mark.parametrize("line", [line for line in commands() if not line.startswith("mixtransfer ")])
def test_target_or_tool_exists(line):
    program, word, *rest = shlex.split(line, comments=True)
    if program == "make":
        assert re.search(rf"^{word}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    else:
        assert program == "python" and word.startswith("tools/"), "a command that no test knows"
        source = (ROOT / word).read_text(encoding="utf-8")
        assert all(f'"{option}"' in source for option in rest if option.startswith("--"))


@pytest.mark.parametrize("config", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_says_the_command_that_takes_it(config):
    assert any(str(config.relative_to(ROOT)) in line.split() for line in commands())


def test_the_commands_on_images_run_one_after_another(tmp_path, monkeypatch, capsys):
    """As the README has them, with a training made small; DATA and the images are made on the spot."""
    for folder, count in (("flowers", 10), ("other/flowers", 2)):
        make_folder(tmp_path / folder, {"daisy": count, "rose": count}, size=32)
    for name in ("new/a.jpg", "photos/b.jpg", "more/trip/c.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        Image.new("RGB", (40, 30), "pink").save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    lines = [
        line for line in commands() if re.match("mixtransfer (models --family|classify|export runs/flowers)", line)
    ]
    lines = [line for line in lines if not re.search(r"--config|--epochs|--int8|backbone\.json", line)]
    if importlib.util.find_spec("openvino") is None:
        lines = [line for line in lines if not re.search(r"--format openvino|\.xml", line)]
    assert {" ".join(line.split()[1:3]) for line in lines} >= {
        "classify train",
        "classify evaluate",
        "classify predict",
    }
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        code = main(words + (TINY if words[:2] == ["classify", "train"] and "--resume" not in words else []))
        assert code == 0, f"{line}: {capsys.readouterr().err}"
    assert (tmp_path / "runs" / "flowers-mixnet_s" / "report.html").is_file()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\((?!http|#)([^)]+)\)", README))))
def test_linked_file_exists(path):
    assert (ROOT / path).exists()


def test_every_command_is_mentioned():
    for name in VERBS:
        assert f"mixtransfer {name}" in README, name
