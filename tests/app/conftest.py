"""Tiny models, images good and bad, and one server that runs while its tests do."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from app_runs import NAMES, classifier, detector
from PIL import Image
from serving import Server, serving

from mixtransfer.app.models import Model, open_models

# The program as a user starts it whose shell has settings for other gradio programs; besides, it says whom it looks for
# outside of this machine.
PROGRAM = """
import os, sys

os.environ.update(GRADIO_NUM_WORKERS="1", GRADIO_ALLOWED_PATHS="/", GRADIO_LOCAL_DEV_MODE="1")

def watch(event, arguments):
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    if host not in ("127.0.0.1", b"127.0.0.1", "localhost", b"localhost", "::1", None):
        print("OUTSIDE", event, host, file=sys.stderr, flush=True)

sys.addaudithook(watch)
from mixtransfer.commandline.cli import main
sys.exit(main())
"""


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> list[Path]:
    """Two classifiers."""
    root = tmp_path_factory.mktemp("classifiers")
    return [classifier(root / "first", NAMES), classifier(root / "second", NAMES, seed=1)]


@pytest.fixture(scope="session")
def classifiers(runs) -> list[Model]:
    return open_models([str(run) for run in runs], "cpu")


@pytest.fixture(scope="session")
def detector_run(tmp_path_factory) -> Path:
    pytest.importorskip("detectron2", reason="detectron2 is not installed: mixtransfer install-detectron2")
    return detector(tmp_path_factory.mktemp("detectors") / "boxes", NAMES)


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> list[Path]:
    """Three photograph-like JPEG files, larger than a network wants to see."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for i in range(3):
        coarse = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        coarse.resize((800, 600), Image.Resampling.BICUBIC).save(folder / f"photo{i}.jpg")
    return sorted(folder.iterdir())


@pytest.fixture(scope="session")
def bad_files(images, tmp_path_factory) -> list[Path]:
    """A text file, an image of 100 megapixels and a truncated JPEG."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "notes.txt").write_text("not an image")
    Image.new("1", (10_000, 10_000)).save(folder / "huge.png")
    data = images[0].read_bytes()
    (folder / "cut.jpg").write_bytes(data[: len(data) // 2])
    return [folder / name for name in ("notes.txt", "huge.png", "cut.jpg")]


@pytest.fixture(scope="session")
def server(runs, tmp_path_factory) -> Iterator[Server]:
    """`mixtransfer app FIRST SECOND`, in a process of its own."""
    pytest.importorskip("gradio", reason="gradio is not installed: pip install 'mixtransfer[app]'")
    words = ["app", *map(str, runs), "--no-browser", "--device", "cpu", "--max-megabytes", "1"]
    log = tmp_path_factory.mktemp("log") / "log.txt"
    with serving([sys.executable, "-c", PROGRAM, *words], log) as server:
        yield server
