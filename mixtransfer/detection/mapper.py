"""From records to the dicts that detectron2's models take."""

from typing import Any

import numpy as np
import torch
from PIL import Image

from mixtransfer.data.detection.augment import BoxView, warp
from mixtransfer.data.detection.dataset import Record


class TrainingMapper:
    """Augmented views; the boxes come as arrays until ``add_instances``.

    Called with a record and the seed of its augmentation, gives a dict of ``file_name``, ``image_id``, ``height`` and
    ``width`` of the original, ``image`` (uint8, (3, size, size)), ``boxes`` in its pixels (float32, (n, 4)) and
    ``labels`` (int64, (n,)). Crowd is no target.
    """

    def __init__(self, augment: BoxView):
        self.augment = augment

    def __call__(self, record: Record, seed: int) -> dict[str, Any]:
        boxes, labels = record.targets
        shares = boxes / np.array([record.width, record.height] * 2)
        pixels = np.asarray(record.image(self.augment.min_side))
        view, boxes, labels = self.augment(pixels, shares, labels, seed)
        return {**_origin(record), "image": _tensor(view), "boxes": boxes, "labels": labels}


class EvaluationMapper:
    """The whole image, warped to a square; ``height`` and ``width`` let a model scale its boxes back.

    Called with a record, gives the dict of ``TrainingMapper`` without boxes and labels.
    """

    def __init__(self, size: int):
        self.size = size

    def __call__(self, record: Record) -> dict[str, Any]:
        return {**_origin(record), "image": square_view(record.image(self.size), self.size)}


def square_view(image: Image.Image, size: int) -> torch.Tensor:
    """An RGB image warped to a square, uint8 (3, size, size)."""
    return _tensor(warp(np.asarray(image), size, size))


def add_instances(example: dict[str, Any]) -> dict[str, Any]:
    """Replace ``boxes`` and ``labels`` by detectron2's ``instances`` with ``gt_boxes`` and ``gt_classes``."""
    from mixtransfer.detection.compat import prepare_detectron2

    prepare_detectron2()
    from detectron2.structures import Boxes, Instances

    example = dict(example)
    boxes, labels = example.pop("boxes"), example.pop("labels")
    example["instances"] = Instances(
        tuple(example["image"].shape[1:]),
        gt_boxes=Boxes(torch.from_numpy(boxes)),
        gt_classes=torch.from_numpy(labels),
    )
    return example


def _origin(record: Record) -> dict[str, Any]:
    return {
        "file_name": str(record.file),
        "image_id": record.image_id,
        "height": record.height,
        "width": record.width,
    }


def _tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)
