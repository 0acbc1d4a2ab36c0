"""One small finished run, shared by the tests that only look at it."""

from pathlib import Path

import pytest
from detect_tiny import tiny

from mixtransfer.data.detection.demo import write_digits_on_photos
from mixtransfer.run import Run


@pytest.fixture(scope="session")
def digits(tmp_path_factory) -> Path:
    return write_digits_on_photos(tmp_path_factory.mktemp("digits") / "set", 16, 6)


@pytest.fixture(scope="session")
def finished(digits, tmp_path_factory) -> Run:
    pytest.importorskip("detectron2", reason="detectron2 is not installed: mixtransfer install-detectron2")
    from mixtransfer.detection.train import train

    return train(tiny(digits, tmp_path_factory.mktemp("runs") / "finished"))
