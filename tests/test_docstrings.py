"""Every example in a docstring says what happens."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    ".".join(file.relative_to(ROOT).with_suffix("").parts)
    for file in (ROOT / "mixtransfer").rglob("*.py")
    if ">>> " in file.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted and not result.failed


@pytest.mark.parametrize(
    "name", ["MixConv2d", "count_macs", "count_parameters", "create_backbone", "list_backbones", "replace_depthwise"]
)
def test_the_main_names_have_examples(name):
    import mixtransfer.backbones

    assert ">>> " in getattr(mixtransfer.backbones, name).__doc__
