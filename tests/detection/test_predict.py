"""`detect predict` fills its batches and keeps the order, whatever comes between."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixtransfer.data.detection.square import Square
from mixtransfer.detection.options import PredictOptions
from mixtransfer.detection.predict import predict
from mixtransfer.detection.scores import Detections
from mixtransfer.detection.spec import DetectorSpec


class Brightness:
    """A detector whose score is the image's brightness."""

    classes, category_ids, square, most, spec = ["grey"], [1], Square(32), 100, DetectorSpec()

    def __init__(self):
        self.batches = []

    def detect(self, views, sizes):
        self.batches.append(len(views))
        box = np.array([[0, 0, 8, 8]], np.float32)
        return [Detections(0, box, np.array([float(v.float().mean()) / 255]), np.array([0])) for v in views]


@pytest.fixture
def images(tmp_path) -> list[str]:
    paths = [tmp_path / f"{i}.png" for i in range(11)]
    for i, path in enumerate(paths):
        if i in (2, 7):
            path.write_text("no image")
        else:
            Image.new("RGB", (40 + i, 30), (20 * i,) * 3).save(path)
    return [str(path) for path in paths]


def test_batches_are_full_and_answers_in_order(images):
    detector = Brightness()
    found = list(predict(PredictOptions("", images, batch_size=4, workers=2), detector))
    assert detector.batches == [4, 4, 1]
    assert [one.path for one in found] == [Path(image) for image in images]
    assert [i for i, one in enumerate(found) if one.error] == [2, 7]
    usable = [(i, one.detections) for i, one in enumerate(found) if not one.error]
    assert [detections.image_id for _, detections in usable] == list(range(1, 10))
    assert [detections.scores[0] for _, detections in usable] == pytest.approx([20 * i / 255 for i, _ in usable])
