"""Whether a detector's anchors fit the boxes of a dataset."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from mixtransfer.data.detection.dataset import LARGE, SMALL, Record
from mixtransfer.data.detection.square import Square
from mixtransfer.detection.mistakes import box_iou
from mixtransfer.detection.spec import USUAL_SCALES, DetectorSpec

CHUNK = 512  # boxes that are held against all anchors at once
FINEST = (0.2, 0.15, 0.12, 0.1, 0.08, 0.07, 0.06, 0.05, 0.04, 0.03)
SECOND = (0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45)
NEARLY = 0.01
MOST_BOXES = 1500  # that are looked at


@torch.inference_mode()
def anchor_coverage(model: Any, records: Sequence[Record], square: Square) -> dict[str, float | None]:
    """The share of boxes that some anchor overlaps by IoU 0.5 or more: of all, small, medium and large ones.

    Args:
        model: An ``SSDLite``.
        square: What it is shown of each image.
    """
    device = next(model.parameters()).device
    image = torch.zeros(1, 3, square.size, square.size, device=device)
    anchors = model.eval().predict(image)[2].cpu().numpy() / square.size
    boxes = [target_shares(record, square) for record in records]
    areas = [record.area[~record.crowd] for record in records]
    covered = best_overlap(np.concatenate(boxes), anchors) >= 0.5
    return shares_by_size(covered, np.concatenate(areas))


def target_shares(record: Record, square: Square) -> np.ndarray:
    """The boxes to train on, (n, 4), in shares of the square that a detector is shown of their image."""
    return square.into(record.targets[0], record.width, record.height) / square.size


def anchors_of(spec: DetectorSpec) -> np.ndarray:
    """The anchors of a detector, in shares of its square, shape (n, 4).

    Raises:
        UserError: detectron2 is missing.
    """
    from mixtransfer.detection.ssdlite.anchors import make_anchors

    size = spec.image_size
    sides = [math.ceil(size / 16)]
    while len(sides) < 6:
        sides.append(math.ceil(sides[-1] / 2))
    return make_anchors(spec)([(side, side) for side in sides], (size, size)).numpy() / size


def fitting_scales(boxes: np.ndarray, labels: np.ndarray, spec: DetectorSpec) -> tuple[float, ...]:
    """Scales of anchors that reach the boxes to train on, each class counting alike.

    SSD learns a box by the anchors that overlap it by half. Of the scales in ``FINEST`` the largest is taken that
    reaches nearly as many boxes so (``NEARLY``) as the best. On BCCD (205 images of blood cells) and on 450 images of
    COCO that is 0.08, which reaches 85 % and 61 % on the average of the classes, where SSD's own 0.2 reaches 66 % and
    44 %, and of BCCD's small platelets 59 % instead of half a percent (320 pixels, 2026-11-26).

    A finer first scale draws the second one down, so that what is between, which was the finest level's, comes to the
    next, whose cells are twice as wide. Where the boxes overlap their best anchors clearly more (``NEARLY``) with
    another second scale (``SECOND``), that is taken: of BCCD 0.4, by which red cells overlap by 0.68 instead of 0.60,
    and of COCO none (2026-11-28).

    Args:
        boxes: Corners in shares of the square, shape (n, 4).
        labels: Their classes, shape (n,).
        spec: The detector; of its anchors only the aspect ratios count.
    """
    if not len(boxes):
        return USUAL_SCALES
    classes = np.unique(labels)
    order = np.random.default_rng(0).permutation(len(boxes))
    of_each = max(1, MOST_BOXES // len(classes))  # or rare classes would hardly be among them
    chosen = np.concatenate([order[labels[order] == label][:of_each] for label in classes])
    boxes, labels = boxes[chosen], labels[chosen]

    def overlaps(*scales: float) -> np.ndarray:
        return best_overlap(boxes, anchors_of(replace(spec, anchors=scales)))

    def of_classes(values: np.ndarray) -> float:
        return float(np.mean([values[labels == label].mean() for label in classes]))

    coarsest = USUAL_SCALES[1]
    shares = {finest: of_classes(overlaps(finest, coarsest) >= 0.5) for finest in FINEST}
    enough = max(shares.values()) - NEARLY
    finest = max(finest for finest, share in shares.items() if share >= enough)
    if finest == USUAL_SCALES[0]:
        return USUAL_SCALES
    means = {second: of_classes(overlaps(finest, second, coarsest)) for second in SECOND if second > finest}
    second = max(means, key=lambda scale: means[scale])
    if means[second] < of_classes(overlaps(finest, coarsest)) + NEARLY:
        return finest, coarsest
    return finest, second, coarsest


def best_overlap(boxes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """The largest IoU of each box with an anchor, shape (n,); corners in shares of the square."""
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
