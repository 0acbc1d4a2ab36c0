"""One small finished run, shared by the tests that only look at it."""

from pathlib import Path

import pytest
from folders import make_folder
from tiny import tiny

from mixtransfer.classification.train import train
from mixtransfer.runs.run import Run


@pytest.fixture(scope="session")
def colours(tmp_path_factory) -> Path:
    """Six classes that differ by colour, split into train and test; one name needs escaping, one is Unicode."""
    root = tmp_path_factory.mktemp("colours") / "set"
    names = ["cat", "dog", "<b>bold", "naïve ☃", "two words", "six"]
    make_folder(root / "train", dict.fromkeys(names, 10))
    make_folder(root / "test", dict.fromkeys(names, 5), seed=1)
    return root


@pytest.fixture(scope="session")
def finished(colours, tmp_path_factory) -> Run:
    return train(tiny(colours, tmp_path_factory.mktemp("runs") / "finished"))
