"""Data that many tests need: small image folders made on the spot."""

import os
import signal
import traceback
from pathlib import Path

import pytest
from folders import make_folder

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# A shell's background job ignores Ctrl-C, and so would every command that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


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


def _start_here(function, args, nprocs, start_method):
    from torch.multiprocessing import ProcessRaisedException

    try:
        function(0, *args)
    except Exception:
        raise ProcessRaisedException(traceback.format_exc(), 0, 0) from None


@pytest.fixture(scope="session")
def in_process():
    """What torch would start in a process of its own runs in the test's."""
    import torch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.multiprocessing, "start_processes", _start_here)
        yield
