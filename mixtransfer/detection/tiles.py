"""Large images by tiles: what a detector is shown of them, and what it found, put together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.ops import batched_nms

from mixtransfer.data.detection.square import Square
from mixtransfer.detection.mapper import origin, picture_of, square_view
from mixtransfer.detection.scores import Detections
from mixtransfer.detection.spec import DetectorSpec
from mixtransfer.detection.tiling import Tiling

TOUCH = 0.02  # of a tile's side: a box that ends so near to its border is perhaps cut by it
CANDIDATES = 10  # for each detection that an image may have


@dataclass(frozen=True)
class Views:
    """What a detector is shown of one image.

    Attributes:
        pixels: Squares, uint8 (3, size, size).
        windows: What each shows, see ``Tiling.windows``; the first is the whole image.
    """

    pixels: list[torch.Tensor]
    windows: np.ndarray

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Width and height of each window."""
        return [(int(x2 - x1), int(y2 - y1)) for x1, y1, x2, y2 in self.windows]


def views_of(image: Image.Image, square: Square, tiling: Tiling | None = None) -> Views:
    """The square of an RGB image, and those of its tiles."""
    if tiling is None:
        return Views([square_view(image, square)], np.array([(0, 0, *image.size)]))
    windows = tiling.windows(*image.size)
    tiles = [image.crop(tuple(window)) for window in windows[1:].tolist()]
    return Views([square_view(part, square) for part in (image, *tiles)], windows)


class TiledMapper:
    """An image and its tiles for evaluation.

    Called with a dataset dict, gives that of ``EvaluationMapper``, but for ``image``, which is of all views, uint8 (n,
    3, size, size), and ``windows``, what each shows (see ``Tiling.windows``).
    """

    def __init__(self, square: Square, tiling: Tiling):
        self.square, self.tiling = square, tiling

    def __call__(self, example: dict[str, Any]) -> dict[str, Any]:
        views = views_of(picture_of(example, None), self.square, self.tiling)
        return {**origin(example), "image": torch.stack(views.pixels), "windows": views.windows.tolist()}


def find(detector: Any, images: Sequence[Views], batch_size: int) -> list[Detections]:
    """What a ``Detector`` finds in each image, in its pixels, ``batch_size`` views at a time."""
    pixels = [view for image in images for view in image.pixels]
    sizes = [size for image in images for size in image.sizes]
    found: list[Detections] = []
    for start in range(0, len(pixels), batch_size):
        stop = start + batch_size
        found += detector.detect(pixels[start:stop], sizes[start:stop])
    parts = iter(found)
    return [merged([next(parts) for _ in image.pixels], image.windows, detector.spec) for image in images]


def merged(found: Sequence[Detections], windows: np.ndarray, spec: DetectorSpec) -> Detections:
    """What was found in the views of one image, in its pixels: each object once, best first.

    Two boxes are of one object if their IoU is large enough. If one ends at a border of its tile, over which
    the other reaches, only what both tiles show is held against each other: then the whole box stays, with the higher
    score, or, if both are cut, the box around them. The whole image is a view too, which shows what is larger than a
    tile.

    Args:
        found: In the pixels of each view.
        windows: See ``Views``.
        spec: Says how many stay, and what is large enough.
    """
    if len(found) == 1:
        return found[0]
    parts = [(one, window) for one, window in zip(found, windows, strict=True) if len(one.scores)]
    if not parts:
        return found[0]
    boxes = np.concatenate([one.boxes + window[[0, 1, 0, 1]] for one, window in parts]).astype(np.float32)
    scores = np.concatenate([one.scores for one, _ in parts]).astype(np.float32)
    labels = np.concatenate([one.labels for one, _ in parts])
    shown = np.concatenate([np.tile(window, (len(one.scores), 1)) for one, window in parts]).astype(np.float32)
    best = np.argsort(-scores, kind="stable")[: CANDIDATES * spec.max_detections]
    boxes, scores, labels = boxes[best], scores[best], labels[best]
    kinds = np.zeros_like(labels) if spec.class_agnostic else labels
    left = _join(boxes, scores, kinds, shown[best], windows[0], spec.nms)
    boxes, scores, labels, kinds = boxes[left], scores[left], labels[left], kinds[left]
    kept = batched_nms(*map(torch.from_numpy, (boxes, scores, kinds)), spec.nms)[: spec.max_detections].numpy()
    return Detections(found[0].image_id, boxes[kept], scores[kept], labels[kept])


def _join(
    boxes: np.ndarray, scores: np.ndarray, kinds: np.ndarray, shown: np.ndarray, whole: np.ndarray, enough: float
) -> np.ndarray:
    """Join boxes that a tile's border cuts to what they are a part of, in place; returns which are left, bool (n,).

    Args:
        boxes, scores: Best first.
        kinds: Only boxes of one kind are joined, (n,).
        shown: What the view of each shows, (n, 4).
        whole: The image's x1, y1, x2, y2.
        enough: IoU from which on two are of one object.
    """
    left = np.ones(len(boxes), bool)
    cut = _cut_sides(boxes, shown, whole)
    for i in np.flatnonzero(cut.any(axis=1)):
        while left[i] and cut[i].any():
            others = left & (kinds == kinds[i]) & (shown != shown[i]).any(axis=1) & _beyond(boxes, shown[i], cut[i])
            others = np.flatnonzero(others)
            window = _common(shown[others], shown[i])
            others = others[_iou(_common(boxes[others], window), _common(boxes[i], window)) >= enough]
            if not len(others):
                break
            unbroken = others[~cut[others].any(axis=1)]
            if len(unbroken):
                best = unbroken[scores[unbroken].argmax()]
                scores[best] = max(scores[best], scores[i])
                left[i] = False
                break
            boxes[i], shown[i] = _around(boxes[[i, others[0]]]), _around(shown[[i, others[0]]])
            scores[i] = max(scores[i], scores[others[0]])
            left[others[0]] = False
            cut[i] = _cut_sides(boxes[i : i + 1], shown[i : i + 1], whole)[0]
    return left


def _cut_sides(boxes: np.ndarray, shown: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Which sides of boxes end at a border that goes through the image: bool (n, 4)."""
    side = (shown[:, 2:] - shown[:, :2]).max(axis=1, keepdims=True, initial=0)
    return (np.abs(boxes - shown) <= TOUCH * side) & (shown != whole)


def _beyond(boxes: np.ndarray, window: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Whether boxes reach over one of the named sides of a window: bool (n,)."""
    over = np.concatenate([boxes[:, :2] < window[:2], boxes[:, 2:] > window[2:]], axis=1)
    return (over & sides).any(axis=1)


def _common(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The intersection of boxes, (n, 4) and (n, 4) or (4,); empty ones have no size."""
    low = np.maximum(first[..., :2], second[..., :2])
    return np.concatenate([low, np.maximum(low, np.minimum(first[..., 2:], second[..., 2:]))], axis=-1)


def _iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Of boxes, one by one: (n,); 0 where both are empty."""
    common, one, two = (
        (part[..., 2:] - part[..., :2]).prod(axis=-1) for part in (_common(first, second), first, second)
    )
    return common / np.maximum(one + two - common, 1e-9)


def _around(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])
