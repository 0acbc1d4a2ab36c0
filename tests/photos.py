"""Photographs, from scikit-learn's two, and what people do to them."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance
from sklearn.datasets import load_sample_images

SIDE = 160


def photos(count: int) -> list[Image.Image]:
    """Different photographs: tiles of two large ones that hardly overlap, 160×160 pixels."""
    tiles = [
        Image.fromarray(whole[top : top + SIDE, left : left + SIDE])
        for top in range(0, 427 - SIDE, 130)
        for left in range(0, 640 - SIDE, 120)
        for whole in load_sample_images().images
    ]
    return tiles[:count]


def recompressed(image: Image.Image) -> Image.Image:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=60)
    return Image.open(data)


EDITS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "recompressed": recompressed,
    "smaller": lambda image: image.resize((100, 100)),
    "larger": lambda image: image.resize((300, 300)),
    "cropped": lambda image: image.crop((5, 4, 156, 157)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.25),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "grey": lambda image: image.convert("L"),
    "noisy": lambda image: Image.fromarray(
        np.clip(np.asarray(image) + np.random.default_rng(0).normal(0, 8, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
    ),
}
