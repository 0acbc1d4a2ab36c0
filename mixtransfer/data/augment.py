"""Augmentation of training images with albumentations."""

import random

import albumentations as A
import cv2
import numpy as np

POLICIES = ("none", "crop", "crop-flip", "standard", "strong")


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
    """

    def __init__(self, policy: str, size: int, min_area: float = 0.3):
        if policy not in POLICIES:
            raise ValueError(f"augment {policy!r} is not one of {', '.join(POLICIES)}")
        self.min_side = size if policy == "none" else round(1.5 * size)
        self._compose = A.Compose(_transforms(policy, size, min_area))

    def __call__(self, image: np.ndarray, seed: int) -> np.ndarray:
        """A view of ``image``, uint8 (height, width, 3), as uint8 (size, size, 3)."""
        # One generator for all transforms: set_random_seed would give each its own, all alike, so that a mirrored image
        # would always have the same change of colour.
        self._compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        return self._compose(image=image)["image"]


def _transforms(policy: str, size: int, min_area: float) -> list[A.BasicTransform]:
    if policy == "none":
        return [A.SmallestMaxSize(size, interpolation=cv2.INTER_CUBIC), A.CenterCrop(size, size)]
    if policy == "crop":
        return [A.RandomResizedCrop((size, size), (0.7, 1.0), (0.85, 1.18), interpolation=cv2.INTER_CUBIC)]
    crop = A.RandomResizedCrop((size, size), (min_area, 1.0), interpolation=cv2.INTER_CUBIC)
    if policy == "crop-flip":
        return [crop, A.HorizontalFlip(p=0.5)]
    colour = A.ColorJitter((0.7, 1.3), (0.7, 1.3), (0.7, 1.3), (-0.03, 0.03), p=0.8)
    if policy == "standard":
        return [crop, A.HorizontalFlip(p=0.5), colour]
    return [
        crop,
        A.HorizontalFlip(p=0.5),
        colour,
        A.Rotate((-15, 15), border_mode=cv2.BORDER_REFLECT_101, p=0.5),
        A.ToGray(p=0.05),
        A.OneOf([A.GaussianBlur((3, 5)), A.GaussNoise((0.02, 0.08))], p=0.2),
        A.CoarseDropout((1, 1), (0.1, 0.35), (0.1, 0.35), fill="random_uniform", p=0.3),
    ]
