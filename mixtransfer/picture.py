"""An image as Python programs have it: a file, what is in one, an open image, or an array."""

from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from mixtransfer.data.images import load_image, upright_rgb
from mixtransfer.errors import UserError

Picture = str | Path | bytes | bytearray | memoryview | IO[bytes] | Image.Image | np.ndarray


def are_several(images: Any) -> bool:
    """Whether these are images, not one; what is neither counts as one."""
    if isinstance(images, np.ndarray):
        return images.ndim == 4
    one = isinstance(images, str | bytes | bytearray | memoryview) or hasattr(images, "read")
    return isinstance(images, Iterable) and not one


def to_image(picture: Picture, min_side: int | None = None) -> Image.Image:
    """An image in RGB, upright, whether it is open already or not.

    Args:
        min_side: See ``load_image``, of files.

    Raises:
        UserError: It is none, or cannot be used.
    """
    name = "The image" if isinstance(picture, Image.Image) else "The data"
    if isinstance(picture, str | Path):
        name = str(picture)
    try:
        if isinstance(picture, np.ndarray):
            return upright_rgb(_of_array(picture))
        if isinstance(picture, Image.Image):
            _check_depth(picture)
            return upright_rgb(picture)
        if isinstance(picture, bytes | bytearray | memoryview):
            picture = BytesIO(picture)
        if isinstance(picture, str | Path) or hasattr(picture, "read"):
            return load_image(picture, min_side)
    except ValueError as error:
        raise UserError(f"{name} {error}.") from error
    raise _no_image(type(picture).__name__)


def _of_array(pixels: np.ndarray) -> Image.Image:
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    usable = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    if pixels.dtype != np.uint8 or not pixels.size or not usable:
        raise _no_image(f"{pixels.dtype} {pixels.shape}")
    return Image.fromarray(pixels)


def _check_depth(image: Image.Image) -> None:
    """Of whole numbers that no file gave, up to 255 may be all of 8 bits, or nearly black."""
    if image.mode.startswith("I") and image.format is None and 0 < (most := int(np.asarray(image).max())) < 256:
        raise ValueError(
            f"has mode {image.mode} with values up to {most}, which are white in 8 bits and black in 16: make it "
            'uint8, by Image.fromarray(np.asarray(image).astype("uint8")), or times 257'
        )


def _no_image(what: str) -> UserError:
    return UserError(
        "An image is a file, an encoded image (bytes or an open file), a PIL image, or uint8 of (height, width, 3) in "
        f"RGB, not {what}."
    )
