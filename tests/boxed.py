"""Images with boxes and detections, made by hand."""

from pathlib import Path

import numpy as np

from mixtransfer.data.detection.dataset import Record
from mixtransfer.detection.scores import Detections

CLASSES, IDS = ["cat", "dog", "emu"], [3, 7, 20]


def record(image_id, boxes, labels, crowd=None) -> Record:
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1).astype(float)
    crowd = np.zeros(len(boxes), bool) if crowd is None else np.array(crowd)
    ids = np.arange(len(boxes)) + 100 * image_id
    return Record(Path(f"{image_id}.jpg"), image_id, 400, 300, boxes, np.array(labels, int), crowd, area, ids)


def found(image_id, boxes, scores, labels) -> Detections:
    return Detections(
        image_id, np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(labels, int)
    )
