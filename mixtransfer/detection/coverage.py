"""Whether a detector's anchors fit the boxes of a dataset."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mixtransfer.data.detection.dataset import LARGE, SMALL, Record
from mixtransfer.detection.mistakes import box_iou

CHUNK = 512  # boxes that are held against all anchors at once


@torch.inference_mode()
def anchor_coverage(model: Any, records: Sequence[Record], size: int) -> dict[str, float | None]:
    """The share of boxes that some anchor overlaps by IoU 0.5 or more: of all, small, medium and large ones.

    Args:
        model: An ``SSDLite``.
        size: Side in pixels of the square that images are warped to.
    """
    device = next(model.parameters()).device
    anchors = model.eval().predict(torch.zeros(1, 3, size, size, device=device))[2].cpu().numpy()
    boxes = [record.targets[0] / np.array([record.width, record.height] * 2) for record in records]
    areas = [record.area[~record.crowd] for record in records]
    covered = best_overlap(np.concatenate(boxes), anchors / size) >= 0.5
    return shares_by_size(covered, np.concatenate(areas))


def default_anchors(size: int) -> np.ndarray:
    """The anchors of a detector trained at ``size`` pixels, in shares of the image, shape (n, 4).

    Raises:
        UserError: detectron2 is missing.
    """
    from mixtransfer.detection.ssdlite.anchors import SSDAnchorGenerator

    sides = [math.ceil(size / 16)]
    while len(sides) < 6:
        sides.append(math.ceil(sides[-1] / 2))
    return SSDAnchorGenerator()([(side, side) for side in sides], (size, size)).numpy() / size


def best_overlap(boxes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """The largest IoU of each box with an anchor, shape (n,); corners in shares of the image."""
    chunks = (boxes[start : start + CHUNK] for start in range(0, len(boxes), CHUNK))
    return np.concatenate([box_iou(chunk, anchors).max(axis=1) for chunk in chunks] or [np.empty(0)])


def shares_by_size(chosen: np.ndarray, area: np.ndarray) -> dict[str, float | None]:
    """The share of boxes that are chosen: of all, small, medium and large ones; None where there is no such box.

    Args:
        chosen: A mask, shape (n,).
        area: In square pixels of the original image, by which COCO tells small from large, shape (n,).
    """
    kinds = {
        "all": area >= 0,
        "small": area < SMALL,
        "medium": (area >= SMALL) & (area < LARGE),
        "large": area >= LARGE,
    }
    return {kind: float(chosen[mask].mean()) if mask.any() else None for kind, mask in kinds.items()}
