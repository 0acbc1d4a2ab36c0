"""The README and the recipes: every command in them is one that the program takes, every file is there."""

import re
import shlex
from pathlib import Path

import pytest

from mixtransfer.arguments import parse
from mixtransfer.cli import VERBS, _load, _verb, _with_recipes

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


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


@pytest.mark.parametrize("line", [line for line in commands() if line.startswith(("make ", "python tools/"))])
def test_target_or_tool_exists(line):
    word = line.split()[1]
    if line.startswith("make"):
        assert re.search(rf"^{word}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    else:
        assert (ROOT / word).is_file()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\((?!http|#)([^)]+)\)", README))))
def test_linked_file_exists(path):
    assert (ROOT / path).exists()


def test_every_command_is_mentioned():
    for name in VERBS:
        assert f"mixtransfer {name}" in README, name
