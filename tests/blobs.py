"""A detector that needs no training: it finds rectangles in red and blue, if the network is shown enough of them."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from mixtransfer.data.detection.square import Square
from mixtransfer.detection.scores import Detections
from mixtransfer.detection.spec import DetectorSpec

COLOURS = ((255, 0, 0), (0, 0, 255))
Placed = tuple[int, tuple[int, int, int, int]]  # label, corners


class Blobs:
    """A ``Detector`` of rectangles that are at least ``least`` pixels wide and high in what it is shown."""

    classes, category_ids, most = ["rotes Ding", "blaues Ding"], [3, 7], 100

    def __init__(self, size: int = 128, least: int = 4, tiling=None):
        self.size, self.least, self.square = size, least, Square(size)
        self.spec = DetectorSpec(image_size=size, tiles=tiling and tiling.side, overlap=tiling and tiling.overlap)
        self.calls: list[int] = []

    def detect(self, views: Sequence[torch.Tensor], sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        self.calls.append(len(views))
        return [self._found(i, *one) for i, one in enumerate(zip(views, sizes, strict=True))]

    def _found(self, number: int, view: torch.Tensor, size: tuple[int, int]) -> Detections:
        boxes, labels, scores = [], [], []
        pixels = view.numpy().astype(int)
        for label, (own, other) in enumerate(((0, 2), (2, 0))):
            mask = (pixels[own] - np.maximum(pixels[other], pixels[1]) > 127).astype(np.uint8)
            for x, y, width, height, area in cv2.connectedComponentsWithStats(mask)[2][1:]:
                if min(width, height) >= self.least:
                    boxes.append([x, y, x + width, y + height])
                    labels.append(label)
                    scores.append(0.5 + 0.4 * area / self.size**2)
        scale = np.array([*size, *size], np.float32) / self.size
        order = np.argsort([-score for score in scores], kind="stable")
        return Detections(
            number,
            np.array(boxes, np.float32).reshape(-1, 4)[order] * scale,
            np.array(scores, np.float32)[order],
            np.array(labels, np.int64)[order],
        )


def picture(size: tuple[int, int], things: Sequence[Placed]) -> Image.Image:
    """A white image with rectangles."""
    image = Image.new("RGB", size, "white")
    for label, corners in things:
        image.paste(COLOURS[label], corners)
    return image


def save_turned(image: Image.Image, path: Path) -> None:
    """Save a picture lying on its side, with the EXIF entry that sets it upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    image.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, quality=95)


def same_things(found: Sequence[Placed], expected: Sequence[Placed], pixels: float) -> bool:
    """Whether two lists hold the same boxes, whatever their order."""
    left = list(expected)
    for label, box in found:
        near = [one for one in left if one[0] == label and np.abs(np.subtract(one[1], box)).max() <= pixels]
        if not near:
            return False
        left.remove(near[0])
    return not left


def things_of(boxes: np.ndarray, labels: np.ndarray) -> list[Placed]:
    return [(int(label), tuple(box)) for label, box in zip(labels, boxes.tolist(), strict=True)]
