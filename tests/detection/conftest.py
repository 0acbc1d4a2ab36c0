"""One small finished run, shared by the tests that only look at it."""

from pathlib import Path

import numpy as np
import pytest
from boxed import found, record
from detect_tiny import tiny

from mixtransfer.data.detection.demo import write_digits_on_photos
from mixtransfer.runs.run import Run


@pytest.fixture(scope="session")
def digits(tmp_path_factory) -> Path:
    return write_digits_on_photos(tmp_path_factory.mktemp("digits") / "set", 16, 6)


@pytest.fixture(scope="session")
def finished(digits, tmp_path_factory) -> Run:
    pytest.importorskip("detectron2", reason="detectron2 is not installed: mixtransfer install-detectron2")
    from mixtransfer.detection.train import train

    return train(tiny(digits, tmp_path_factory.mktemp("runs") / "finished"))


@pytest.fixture
def random_case():
    """Images with crowds, without boxes, without detections; a class without boxes."""
    generator = np.random.default_rng(0)
    records, detections = [], []
    for i in range(1, 21):
        n = int(generator.integers(0, 5)) if i > 2 else 0
        corner = generator.uniform(0, 200, (n, 2))
        boxes = np.concatenate([corner, corner + generator.uniform(30, 100, (n, 2))], axis=1)
        labels = generator.integers(0, 2, n)
        records.append(record(i, boxes, labels, generator.random(n) < 0.2))
        if i % 5:
            noisy = boxes + generator.normal(0, 6, boxes.shape)
            extra = np.array([[5, 5, 60, 60]])
            scores = np.sort(generator.random(n + 1))[::-1]
            detections.append(found(i, np.concatenate([noisy, extra]), scores, [*labels, 2]))
    return records, detections
