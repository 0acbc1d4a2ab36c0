"""CONTRIBUTING.md: what it shows how to add works, and is as short as it says."""

import importlib.util
import inspect
import re
import sys
from pathlib import Path

import pytest

from mixtransfer.backbones import registry

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
SNIPPETS = {
    title: re.findall(r"^```python\n# (\S+)\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    for title, section in re.findall(r"^## (Add .*?)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
}


@pytest.mark.parametrize("title", SNIPPETS)
def test_what_is_shown_works(title, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "REGISTRY", dict(registry.REGISTRY))
    (source, code), (test, test_code) = SNIPPETS[title]
    assert source.startswith("mixtransfer/") and test.startswith("tests/") and Path(test).stem.startswith("test_")
    assert all(len(text.strip().splitlines()) < 20 for text in (code, test_code))
    _load(source, code, tmp_path, monkeypatch)
    tests = [
        value for name, value in vars(_load(test, test_code, tmp_path, monkeypatch)).items() if name[:5] == "test_"
    ]
    data = tmp_path / "data"
    data.mkdir()
    assert tests
    for function in tests:
        function(**({"tmp_path": data} if "tmp_path" in inspect.signature(function).parameters else {}))


def _load(path: str, code: str, folder: Path, monkeypatch):
    """The module that the file would be."""
    file = folder / path.replace("/", "_")
    file.write_text(code, encoding="utf-8")
    name = path.removesuffix(".py").replace("/", ".")
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def test_it_shows_a_backbone_a_dataset_and_a_head():
    assert list(SNIPPETS) == ["Add a backbone", "Add a dataset", "Add a head"]
    assert all(len(found) == 2 for found in SNIPPETS.values())


def test_the_rooms_are_those_of_the_house():
    rooms = {path.parent.name for path in (ROOT / "mixtransfer").glob("*/__init__.py")}
    assert rooms <= set(re.findall(r"`(\w+)/`", TEXT))
