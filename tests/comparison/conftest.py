"""Studies of a few seconds, whose trainings run in the test's own process."""

from pathlib import Path

import pytest
from comparison_words import LARGE, SMALL, TINY
from folders import make_folder
from in_process import start_in_process

from mixtransfer.commandline.cli import main


@pytest.fixture(scope="session")
def animals(tmp_path_factory) -> Path:
    """Three classes that differ by colour."""
    root = tmp_path_factory.mktemp("animals") / "animals"
    make_folder(root / "train", dict.fromkeys(("cat", "dog", "emu"), 12))
    make_folder(root / "test", dict.fromkeys(("cat", "dog", "emu"), 10), seed=1)
    return root


@pytest.fixture(scope="session")
def study(animals, tmp_path_factory) -> Path:
    """Two backbones with two seeds, compared without latency."""
    folder = tmp_path_factory.mktemp("studies") / "study"
    words = ["compare", str(animals), "--backbones", f"{SMALL},{LARGE}", "--seeds", "2", "--rounds", "0", *TINY]
    with pytest.MonkeyPatch.context() as patch:
        start_in_process(patch)
        assert main([*words, "--output", str(folder)]) == 0
    return folder
