"""Which detections are right, by COCO's rules: one pass over a dataset, for all that is counted afterwards."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

IOUS = np.linspace(0.5, 0.95, 10)
_LEAST = np.minimum(IOUS, 1 - 1e-10)  # pycocotools' own allowance


@dataclass(frozen=True)
class Matches:
    """The n detections of a dataset, best first, held against its boxes.

    Attributes:
        images: Number of images.
        image: Position of each detection's image among the sorted ids, int64, shape (n,).
        label: Position of its class in the dataset's categories, int64, shape (n,).
        score: Shape (n,).
        right: Whether it is the best of its class on a box that no better one has found, at each of ``IOUS``, bool,
            shape (10, n).
        counts: Whether it counts at all, which one on a crowd does not unless it is right, bool, shape (10, n).
        boxes: Number of boxes that are no crowd, of each image and class, int64, shape (images, classes).
    """

    images: int
    image: np.ndarray
    label: np.ndarray
    score: np.ndarray
    right: np.ndarray
    counts: np.ndarray
    boxes: np.ndarray

    def of_class(self, label: int) -> np.ndarray:
        """Positions of the detections of a class, best first."""
        return np.flatnonzero(self.label == label)


def match(truth: dict, results: Sequence[dict]) -> Matches:
    """Hold detections against boxes as pycocotools does, whatever their area and number.

    Args:
        truth: A dataset in COCO's format.
        results: Detections in COCO's format.
    """
    ids = np.unique([image["id"] for image in truth["images"]])
    categories = {category["id"]: label for label, category in enumerate(truth["categories"])}
    box_image, box_label, boxes = _flat(truth["annotations"], ids, categories)
    crowd = np.array([bool(one.get("iscrowd", 0)) for one in truth["annotations"]], dtype=bool)
    image, label, found = _flat(results, ids, categories)
    score = np.array([one["score"] for one in results], dtype=np.float64)
    order = np.argsort(image, kind="stable")
    order = order[np.argsort(-score[order], kind="stable")]
    image, label, found, score = image[order], label[order], found[order], score[order]

    counts = np.zeros((len(ids), len(categories)), dtype=np.int64)
    np.add.at(counts, (box_image[~crowd], box_label[~crowd]), 1)
    right = np.zeros((len(IOUS), len(score)), dtype=bool)
    on_crowd = np.zeros_like(right)
    boxes_of, found_of = (_groups(i * len(categories) + j) for i, j in ((box_image, box_label), (image, label)))
    for key in boxes_of.keys() & found_of.keys():
        own, rows = boxes_of[key], found_of[key]
        plain, crowds = boxes[own[~crowd[own]]], boxes[own[crowd[own]]]
        right[:, rows] = _first_on_each(_overlap(found[rows], plain, crowd=False))
        if len(crowds):
            best = _overlap(found[rows], crowds, crowd=True).max(axis=1)
            on_crowd[:, rows] = best >= _LEAST[:, None]
    return Matches(len(ids), image, label, score, right, right | ~on_crowd, counts)


def _flat(rows: Sequence[dict], ids: np.ndarray, categories: dict[int, int]) -> tuple[np.ndarray, ...]:
    """Positions of images and categories, shape (n,), and boxes as x, y, width and height, shape (n, 4)."""
    image = np.searchsorted(ids, np.array([one["image_id"] for one in rows], dtype=ids.dtype))
    label = np.array([categories[one["category_id"]] for one in rows], dtype=np.int64)
    return image, label, np.array([one["bbox"] for one in rows], dtype=np.float64).reshape(-1, 4)


def _groups(keys: np.ndarray) -> dict[int, np.ndarray]:
    """The positions at which each key stands, in their order."""
    order = np.argsort(keys, kind="stable")
    known, start = np.unique(keys[order], return_index=True)
    return dict(zip(known.tolist(), np.split(order, start[1:]), strict=True)) if len(keys) else {}


def _first_on_each(overlap: np.ndarray) -> np.ndarray:
    """Which rows find a column that no earlier row has found, at each of ``IOUS``: (n, boxes) → (10, n).

    A row takes the free column that it overlaps most; of equal ones the last, as in pycocotools.
    """
    count, boxes = overlap.shape
    right = np.zeros((len(IOUS), count), dtype=bool)
    free = np.ones((len(IOUS), boxes), dtype=bool)
    levels = np.arange(len(IOUS))
    for i in np.flatnonzero((overlap >= _LEAST[0]).any(axis=1)):
        fits = np.where(free & (overlap[i] >= _LEAST[:, None]), overlap[i], -1.0)[:, ::-1]
        best = fits.argmax(axis=1)
        right[:, i] = fits[levels, best] >= 0
        free[levels[right[:, i]], boxes - 1 - best[right[:, i]]] = False
    return right


def _overlap(found: np.ndarray, boxes: np.ndarray, crowd: bool) -> np.ndarray:
    """IoU of detections (n, 4) and boxes (m, 4), given as x, y, width, height; on a crowd the share that lies on it."""
    corner, other = found[:, None, :2], found[:, None, :2] + found[:, None, 2:]
    sides = np.minimum(other, boxes[:, :2] + boxes[:, 2:]) - np.maximum(corner, boxes[:, :2])
    common = np.where((sides > 0).all(axis=-1), sides.prod(axis=-1), 0.0)
    area = found[:, 2:].prod(axis=-1)[:, None]
    whole = np.broadcast_to(area, common.shape) if crowd else area + boxes[:, 2:].prod(axis=-1) - common
    return np.divide(common, whole, out=np.zeros_like(common), where=common > 0)
