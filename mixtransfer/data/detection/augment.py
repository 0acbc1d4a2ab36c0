"""Augmentation of training images with their boxes: crop, zoom out, mirror, colour."""

import math
import random
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mixtransfer.data.augment import check_policy
from mixtransfer.data.detection import Resize
from mixtransfer.data.detection.square import CANVAS, Square, warp
from mixtransfer.data.own_augment import ByValue, composed, read_pipeline, seeded, to_pixels, with_boxes
from mixtransfer.data.quiet import A
from mixtransfer.errors import UserError

POLICIES = ("none", "crop", "crop-flip", "standard")
MIN_OVERLAPS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
WHOLE = np.inf  # the choice to cut nothing
LEAST_SIDE = 0.3  # of a part, as a share of what it is cut from
TRIALS = 40


class BoxView(Protocol):
    """What makes views of images with their boxes, as ``DetectionAugment``; ``min_side`` None: decode at full size."""

    @property
    def min_side(self) -> int | None: ...

    def __call__(
        self, image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, seed: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See ``DetectionAugment``."""


def as_detection_augment(augment: Any, size: int, resize: Resize = "warp") -> BoxView:
    """What makes views for training; the one door for whatever augmentation there is.

    Args:
        augment: One of ``POLICIES``; a file that ``albumentations.save`` wrote; a transform of albumentations, whose
            ``bbox_params`` do not matter, or of torchvision.transforms.v2, which is called with a dict of image, boxes
            and labels; or what makes such views already.
        size, resize: Of the square output, see ``Square``; what a transform makes is brought into it.

    Raises:
        UserError: It is none of these, or the file cannot be used.
    """
    if isinstance(augment, DetectionAugment | OwnDetectionAugment):
        return augment
    if isinstance(augment, str | Path):
        check_policy(str(augment), POLICIES)
        if str(augment) in POLICIES:
            return DetectionAugment(str(augment), size, resize)
        augment = read_pipeline(Path(augment))
    if not callable(augment):
        raise UserError(f"The augmentation is a {type(augment).__name__}, which makes no views of images.")
    return OwnDetectionAugment(augment, Square(size, resize))


class DetectionAugment:
    """A random view of an image with its boxes, the same for the same seed in any process.

    Args:
        policy: One of ``POLICIES``. ``none`` only resizes to the square; ``crop`` crops, and keeps left and right apart
            (for writing, digits); ``crop-flip`` mirrors too; ``standard`` adds zooming out and colour, as SSD does
            (Liu et al. 2016, sections 2.2 and 3.6).
        size, resize: Of the output, see ``Square``.

    Attributes:
        policy, square: As given.
        min_side: The shorter side from which decoding at a reduced scale loses nothing that a view would show.
    """

    def __init__(self, policy: str, size: int, resize: Resize = "warp"):
        if policy not in POLICIES:
            raise ValueError(f"augment {policy!r} is not one of {', '.join(POLICIES)}")
        self.min_side = size if policy == "none" else math.ceil(size / LEAST_SIDE)
        self.policy, self.square = policy, Square(size, resize)
        self._compose = A.Compose(_transforms(policy, self.square), bbox_params=_in_shares())

    def __call__(
        self, image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, seed: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A view of ``image``, uint8 (height, width, 3).

        Args:
            boxes: x1, y1, x2, y2 in shares of width and height, (n, 4).
            labels: int64, (n,).

        Returns:
            The view, uint8 (size, size, 3); the m ≤ n boxes that are left, clipped to it, at least a pixel wide and
            high, in its pixels, float32 (m, 4); their labels, int64 (m,).
        """
        # One generator for all transforms: set_random_seed would give each its own, all alike, so that two of them
        # with equal probability would always be applied together.
        self._compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        view = self._compose(image=image, bboxes=boxes.astype(np.float32), labels=labels.astype(np.int64))
        size = view["image"].shape[0]
        boxes = np.asarray(view["bboxes"], dtype=np.float32).reshape(-1, 4) * size
        return view["image"], boxes, np.asarray(view["labels"], dtype=np.int64)


class OwnDetectionAugment(ByValue):
    """What a user's own transform makes of an image with its boxes, in a square; see ``as_detection_augment``."""

    min_side = None

    def __init__(self, transform: Any, square: Square):
        self.square, self.transform = square, transform
        albumentations = isinstance(transform, A.BaseCompose | A.BasicTransform)
        self._compose = None
        if albumentations:
            pipeline = composed(transform)
            self._compose = A.Compose(pipeline.transforms, bbox_params=_in_shares(), p=pipeline.p)

    def __call__(
        self, image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, seed: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See ``DetectionAugment``.

        Raises:
            UserError: The transform gives something else than an image.
        """
        if self._compose is not None:
            self._compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
            made = self._compose(image=image, bboxes=boxes.astype(np.float32), labels=labels.astype(np.int64))
            pixels = to_pixels(made["image"])
            boxes, labels = np.asarray(made["bboxes"], dtype=np.float32).reshape(-1, 4), np.asarray(made["labels"])
        else:
            with seeded(seed):
                pixels, boxes, labels = with_boxes(self.transform, image, boxes, labels)
        height, width = pixels.shape[:2]
        boxes = self.square.into(np.clip(boxes, 0, 1) * ([width, height] * 2), width, height)
        kept = (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf) >= 1
        return self.square.view(pixels), boxes[kept].astype(np.float32), labels[kept].astype(np.int64)


def _in_shares() -> A.BboxParams:
    return A.BboxParams("albumentations", ["labels"], min_width=1, min_height=1, clip=True, filter_invalid_bboxes=True)


def _transforms(policy: str, square: Square) -> list[A.BasicTransform]:
    if policy == "none":
        return [Window(square, crop=False)]
    if policy == "crop":
        return [Window(square)]
    if policy == "crop-flip":
        return [Window(square), A.HorizontalFlip(p=0.5)]
    colour = A.ColorJitter((0.875, 1.125), (0.5, 1.5), (0.5, 1.5), (-0.05, 0.05), p=0.8)
    return [Window(square, max_zoom_out=4.0), A.HorizontalFlip(p=0.5), colour]


class Window(A.DualTransform):
    """What a random window shows of an image and its surroundings, in a square.

    With ``max_zoom_out`` above 1, half of the windows are first widened to a canvas of up to that many times the sides,
    with the image anywhere on it (Liu et al. 2016, section 3.6). With ``crop`` the window is then cut to a part of that
    whose overlap (intersection over union) with some box is at least a number drawn from ``MIN_OVERLAPS`` or, as one
    more choice, left whole; the part has 0.3 to 1 of each side and their ratio is at most 2 (section 2.2). Of
    ``TRIALS`` random parts none may reach the number: then another is drawn. A box stays if its centre does, so at
    least a quarter of it is visible. An image without boxes is cut as if it were one.

    Cutting, padding and resizing are one step: only what is visible is resampled, and boxes map exactly as it does.
    """

    def __init__(self, square: Square, crop: bool = True, max_zoom_out: float = 1.0):
        super().__init__(p=1.0)
        self.square, self.size = square, square.size
        self.crop, self.max_zoom_out = crop, max_zoom_out

    def get_params_dependent_on_data(self, params: dict, data: dict) -> dict:
        """The visible part of the image and where it goes in the square, both x1, y1, x2, y2 in whole pixels."""
        sides = np.array(params["shape"][1::-1])
        boxes = np.asarray(data["bboxes"])[:, :4] if len(data["bboxes"]) else np.array([[0.0, 0.0, 1.0, 1.0]])
        window = np.array([0.0, 0.0, 1.0, 1.0])  # in shares of the image's sides
        if self.max_zoom_out > 1 and self.random_generator.random() < 0.5:
            factor = self.random_generator.uniform(1, self.max_zoom_out)
            corner = -self.random_generator.uniform(0, factor - 1, 2)
            window = np.concatenate([corner, corner + factor])
        if self.crop:
            window = self._cut(window, boxes)
        low, high = window[:2], window[2:]
        start = np.clip(np.floor(low * sides), 0, sides - 1).astype(int)
        stop = np.clip(np.ceil(high * sides), start + 1, sides).astype(int)
        placed = np.array(self.square.place(*((high - low) * sides)), float).reshape(2, 2)  # the window in the square
        shown = (np.stack([start, stop]) / sides - low) / (high - low)
        place = np.round(placed[0] + shown * (placed[1] - placed[0])).astype(int)
        first = np.clip(place[0], 0, self.size - 1)
        last = np.clip(place[1], first + 1, self.size)
        return {"visible": (*start.tolist(), *stop.tolist()), "place": (*first.tolist(), *last.tolist())}

    def _cut(self, window: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        shares = self.random_generator.uniform(LEAST_SIDE, 1, (TRIALS, 2))
        corners = self.random_generator.uniform(0, 1 - shares)
        sides = window[2:] - window[:2]
        parts = np.concatenate([window[:2] + corners * sides, window[:2] + (corners + shares) * sides], axis=1)
        overlap = np.where(_has_centre(parts, boxes), _overlap(parts, boxes), -1).max(axis=1)
        overlap[shares.max(axis=1) > 2 * shares.min(axis=1)] = -1
        for choice in self.random_generator.permutation([*MIN_OVERLAPS, WHOLE]):
            if choice == WHOLE:
                break
            if (overlap >= choice).any():
                return parts[(overlap >= choice).argmax()]
        return window

    def apply(self, img: np.ndarray, visible: tuple, place: tuple, **params) -> np.ndarray:
        x1, y1, x2, y2 = visible
        left, top, right, bottom = place
        square = np.empty((self.size, self.size, 3), dtype=np.uint8)
        square[:] = CANVAS
        square[top:bottom, left:right] = warp(img[y1:y2, x1:x2], right - left, bottom - top)
        return square

    def apply_to_bboxes(self, bboxes: np.ndarray, visible: tuple, place: tuple, **params) -> np.ndarray:
        height, width = params["shape"][:2]
        shown = np.array(visible) / (width, height, width, height)
        placed = np.array(place) / self.size
        bboxes = bboxes[_has_centre(shown[None], bboxes[:, :4])[0]]
        scale = (placed[2:] - placed[:2]) / (shown[2:] - shown[:2])
        for corner in (slice(0, 2), slice(2, 4)):
            bboxes[:, corner] = (bboxes[:, corner] - shown[:2]) * scale + placed[:2]
        return bboxes


def _has_centre(windows: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Which windows, (m, 4), hold the centres of which boxes, (n, 4): bool (m, n)."""
    centres = (boxes[:, :2] + boxes[:, 2:4]) / 2
    return ((centres > windows[:, None, :2]) & (centres < windows[:, None, 2:])).all(axis=-1)


def _overlap(windows: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of windows, (m, 4), and boxes, (n, 4): (m, n)."""
    common = np.minimum(windows[:, None, 2:], boxes[:, 2:]) - np.maximum(windows[:, None, :2], boxes[:, :2])
    common = np.clip(common, 0, None).prod(axis=-1)
    areas = (windows[:, 2:] - windows[:, :2]).prod(axis=-1)[:, None] + (boxes[:, 2:] - boxes[:, :2]).prod(axis=-1)
    return common / (areas - common)
