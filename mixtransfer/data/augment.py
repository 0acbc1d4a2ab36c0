"""Augmentation of training images with albumentations, resized as evaluation resizes."""

import math
import random
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from mixtransfer.data.own_augment import FILES, OBJECT, OwnAugment, read_pipeline
from mixtransfer.data.preprocessing import Preprocessing
from mixtransfer.data.quiet import A
from mixtransfer.errors import UserError

POLICIES = ("none", "crop", "crop-flip", "standard", "strong")


class View(Protocol):
    """What makes views of images.

    Attributes:
        min_side: The shorter side from which decoding at a reduced scale loses nothing that a view would show; None:
            decode at full size.
    """

    @property
    def min_side(self) -> int | None: ...

    def __call__(self, image: np.ndarray, seed: int) -> np.ndarray:
        """A view of ``image``, uint8 (height, width, 3), as uint8 (size, size, 3): the same for the same seed."""


def as_augment(augment: Any, preprocessing: Preprocessing, min_area: float = 0.3) -> View:
    """What makes views for training; the one door for whatever augmentation there is.

    Args:
        augment: One of ``POLICIES``; a file that ``albumentations.save`` wrote; a transform of albumentations, or a
            callable, see ``OwnAugment``; or an ``Augment`` or ``OwnAugment``, which is taken as it is.
        preprocessing: What the network wants to see.
        min_area: See ``Augment``.

    Raises:
        UserError: It is none of these, or the file cannot be used.
    """
    if isinstance(augment, Augment | OwnAugment):
        return augment
    if isinstance(augment, str | Path):
        check_policy(str(augment), POLICIES)
        if str(augment) in POLICIES:
            how = preprocessing.interpolation, preprocessing.crop_mode
            return Augment(str(augment), preprocessing.size, min_area, *how)
        augment = read_pipeline(Path(augment))
    if not callable(augment):
        raise UserError(f"The augmentation is a {type(augment).__name__}, which makes no views of images.")
    return OwnAugment(augment, preprocessing)


def check_policy(augment: str, policies: tuple[str, ...]) -> None:
    """See that an option names a policy or a file.

    Raises:
        UserError: It does not.
    """
    if augment not in (*policies, OBJECT) and Path(augment).suffix.lower() not in FILES:
        raise UserError(
            f"--augment {augment!r} is not one of {', '.join(policies)}, nor a .yaml or .json file of albumentations."
        )


class Augment:
    """A random view of an image, the same for the same seed in any process.

    albumentations draws from generators of its own, which every data-loading worker would inherit alike and
    repeat every epoch. Here each call names its seed, so what an image becomes depends on nothing else: not on
    the number of workers, nor on whether the training was interrupted.

    Args:
        policy: One of ``POLICIES``. ``none`` only resizes; ``crop`` is gentle and keeps left and right apart (for
            writing, digits); ``crop-flip`` is the paper's; ``standard`` adds colour; ``strong`` adds rotation,
            blur, noise and erased patches.
        size: Side of the square output in pixels.
        min_area: The smallest share of the image's area that a crop keeps.
        interpolation, crop_mode: As in ``Preprocessing``: the network is to see in training what it sees afterwards.

    Attributes:
        min_side: The shorter side from which decoding at a reduced scale loses nothing that a view would show.
    """

    def __init__(
        self,
        policy: str,
        size: int,
        min_area: float = 0.3,
        interpolation: str = "bicubic",
        crop_mode: str = "center",
    ):
        if policy not in POLICIES:
            raise ValueError(f"augment {policy!r} is not one of {', '.join(POLICIES)}")
        if policy == "none":
            whole = Preprocessing(size, 1.0, interpolation, crop_mode=crop_mode)
            self.min_side = whole.min_side
            transforms: list[A.BasicTransform] = [CentralView(whole)]
        else:
            areas, ratios = ((0.7, 1.0), (0.85, 1.18)) if policy == "crop" else ((min_area, 1.0), (3 / 4, 4 / 3))
            # The narrowest crop of a square; those of any other shape have longer sides.
            self.min_side = math.ceil(size / math.sqrt(areas[0] * ratios[0]))
            transforms = [ResampledCrop(size, areas, ratios, interpolation), *_changes(policy)]
        self._compose = A.Compose(transforms)

    def __call__(self, image: np.ndarray, seed: int) -> np.ndarray:
        """A view of ``image``, uint8 (height, width, 3), as uint8 (size, size, 3)."""
        # One generator for all transforms: set_random_seed would give each its own, all alike, so that a mirrored image
        # would always have the same change of colour.
        self._compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        return self._compose(image=image)["image"]


class ResampledCrop(A.RandomResizedCrop):
    """albumentations' random crop, resized as ``Preprocessing.central_view`` resizes: shrinking averages.

    OpenCV's cubic filter does not: 427 pixels shrunk to 224 are 1.8 times as sharp as evaluation sees them. PyTorch has
    Pillow's filters for evaluation, equal to a grey level or two, in a fifth of Pillow's time.

    Args:
        size: Side of the square output in pixels.
        areas: Least and largest share of the image's area.
        ratios: Least and largest width of a crop as a multiple of its height.
        interpolation: Name of the filter; what PyTorch does not have becomes "bicubic".
    """

    def __init__(self, size: int, areas: tuple[float, float], ratios: tuple[float, float], interpolation: str):
        super().__init__((size, size), areas, ratios)
        self.filter = interpolation if interpolation in ("bilinear", "bicubic") else "bicubic"

    def apply(self, img: np.ndarray, crop_coords: tuple[int, int, int, int], **params) -> np.ndarray:
        left, top, right, bottom = crop_coords
        pixels = torch.from_numpy(img[top:bottom, left:right].copy()).permute(2, 0, 1)[None]
        view = F.interpolate(pixels, self.size, mode=self.filter, antialias=True)
        return view[0].permute(1, 2, 0).numpy()


class CentralView(A.ImageOnlyTransform):
    """The view for evaluation, as a transform."""

    def __init__(self, preprocessing: Preprocessing):
        super().__init__(p=1.0)
        self.preprocessing = preprocessing

    def apply(self, img: np.ndarray, **params) -> np.ndarray:
        return self.preprocessing.central_view(Image.fromarray(img))


def _changes(policy: str) -> list[A.BasicTransform]:
    """What happens to a crop."""
    if policy == "crop":
        return []
    flip = A.HorizontalFlip(p=0.5)
    if policy == "crop-flip":
        return [flip]
    colour = A.ColorJitter((0.7, 1.3), (0.7, 1.3), (0.7, 1.3), (-0.03, 0.03), p=0.8)
    if policy == "standard":
        return [flip, colour]
    return [
        flip,
        colour,
        A.Rotate((-15, 15), border_mode=cv2.BORDER_REFLECT_101, p=0.5),
        A.ToGray(p=0.05),
        A.OneOf([A.GaussianBlur((3, 5)), A.GaussNoise((0.02, 0.08))], p=0.2),
        A.CoarseDropout((1, 1), (0.1, 0.35), (0.1, 0.35), fill="random_uniform", p=0.3),
    ]
