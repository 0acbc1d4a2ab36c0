"""Whether a detector's anchors fit the boxes of a dataset."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mixtransfer.data.detection.dataset import LARGE, SMALL, Record
from mixtransfer.detection.mistakes import box_iou


@torch.inference_mode()
def anchor_coverage(model: Any, records: Sequence[Record], size: int) -> dict[str, float | None]:
    """The share of boxes that some anchor overlaps by IoU 0.5 or more: of all, small, medium and large ones.

    Sizes are those of COCO, by area in the original image. A share is None where there is no such box.

    Args:
        model: An ``SSDLite``.
        size: Side in pixels of the square that images are warped to.
    """
    device = next(model.parameters()).device
    anchors = model.eval().predict(torch.zeros(1, 3, size, size, device=device))[2].cpu().numpy()
    best, areas = [], []
    for record in records:
        boxes, _ = record.targets
        if len(boxes):
            warped = boxes * size / np.array([record.width, record.height] * 2)
            best.append(box_iou(warped, anchors).max(axis=1))
            areas.append(record.area[~record.crowd])
    covered, area = np.concatenate(best) >= 0.5, np.concatenate(areas)
    kinds = {
        "all": area >= 0,
        "small": area < SMALL,
        "medium": (area >= SMALL) & (area < LARGE),
        "large": area >= LARGE,
    }
    return {kind: float(covered[chosen].mean()) if chosen.any() else None for kind, chosen in kinds.items()}
