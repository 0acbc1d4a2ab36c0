"""Data that many tests need: small image folders made on the spot."""

import os
import signal
import tempfile
from pathlib import Path

import pytest
from folders import make_folder
from hypothesis import settings
from in_process import start_in_process

from mixtransfer.common.messages import print_messages

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # tests need no network
# What a user's commands remember of files is not the tests' to write.
os.environ.setdefault("MIXTRANSFER_CACHE", tempfile.mkdtemp(prefix="mixtransfer-tests-"))
settings.register_profile("patient", deadline=None)  # a busy machine is no fault
settings.load_profile("patient")
print_messages()  # as a command does, so that no test depends on whether another has run one before
# A shell's background job ignores Ctrl-C, and so would every command that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items):
    """Of several processes one gets all tests of a file, which share what is made for them; or of the page's server."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group("app" if item.path.parent.name == "app" else str(item.path)))


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """Three classes of 12 images, not split."""
    return make_folder(tmp_path / "images", {"cat": 12, "dog": 12, "fish": 12})


@pytest.fixture
def shared_data() -> Path:
    """Real images in the datasets' own layouts, where a checkout has them beside it."""
    if not SHARED_DATA.is_dir():
        pytest.skip("../shared/data is not there")
    return SHARED_DATA


@pytest.fixture
def in_process(monkeypatch) -> None:
    """What `compare` would train in a process of its own it trains in the test's."""
    start_in_process(monkeypatch)
