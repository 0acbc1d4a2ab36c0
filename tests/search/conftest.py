"""One finished search of some seconds, shared by the tests that only look at it."""

from pathlib import Path

import pytest
from folders import make_folder
from search_words import WORDS

from mixtransfer.commandline.cli import main


@pytest.fixture(scope="session")
def pets(tmp_path_factory) -> Path:
    return make_folder(tmp_path_factory.mktemp("search") / "pets", {"cat": 16, "dog": 16, "fish": 16}, size=32)


@pytest.fixture(scope="session")
def found(pets, tmp_path_factory) -> Path:
    pytest.importorskip("optuna", reason="optuna is not installed: pip install 'mixtransfer[search]'")
    folder = tmp_path_factory.mktemp("searches") / "found"
    assert main(["search", str(pets), *WORDS, "--output", str(folder)]) == 0
    return folder
