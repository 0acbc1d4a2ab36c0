"""One look at every image: whether it can be used, what it is, and two fingerprints."""

import hashlib
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import imagehash
import numpy as np
from PIL import Image
from tqdm import tqdm

from mixtransfer.data.checked import Remembered, states_of
from mixtransfer.data.images import FORMATS, UnreadableError, load_image, upright_size
from mixtransfer.doctor.listing import Listing

HASHED_SIDE = 64  # pixels; imagehash shrinks to 32
BATCH = 512  # images whose looks are kept at once, in memory and then on disk


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at an image showed.

    Attributes:
        reason: Why it cannot be used, or None; then nothing else is known but ``size``.
        size: Of the file (or the pixels) in bytes.
        width, height: In pixels, upright.
        mode, format: As Pillow names them.
        digest: Of the file's (or the pixels') bytes, in hexadecimal.
        hash: Perceptual hash of 64 bits (imagehash.phash: signs of the lowest frequencies), in hexadecimal.
        spread: Standard deviation of the grey levels, 0 to 127; near 0 where there is nothing to see.
    """

    reason: str | None
    size: int = 0
    width: int = 0
    height: int = 0
    mode: str = ""
    format: str = ""
    digest: str = ""
    hash: str = ""
    spread: float = 0.0


class _Passing(Look):
    """A look at a file that cannot be read now, which another look may be able to."""


def look_through(listing: Listing, memory: Path) -> list[Look]:
    """A look at every image, in order; each batch is put down in the file ``memory``, and not repeated."""
    files = [image for image in listing.images if isinstance(image, Path)]
    if not files:
        return [_look_at_pixels(image) for image in tqdm(listing.images, "Looking", leave=False, disable=None)]
    # Another name when ``Look`` changes.
    remembered = Remembered(memory, "looks_2", [f"look_{field.name}" for field in fields(Look)])
    with tqdm(total=len(files), desc="Looking", leave=False, disable=None) as bar:
        looks: list[Look] = []
        for batch in _looks(files, remembered):
            looks += batch
            bar.update(len(batch))
        return looks


def _looks(files: list[Path], remembered: Remembered) -> Iterator[list[Look]]:
    """Batch by batch, so that neither memory nor what an interrupt loses grows with the dataset.

    Threads suffice: Pillow decodes outside Python's global lock.
    """
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for start in range(0, len(files), BATCH):
            batch = files[start : start + BATCH]
            states = states_of(batch)
            rows = remembered.known(states).items()
            known = {file: look for file, values in rows if (look := _recalled(values)) is not None}
            fresh = [file for file in batch if file not in known]
            known |= dict(zip(fresh, pool.map(_look_at_file, fresh), strict=True))
            lasting = [file for file in fresh if not isinstance(known[file], _Passing)]
            remembered.add(states, {file: astuple(known[file]) for file in lasting})
            yield [known[file] for file in batch]


def _look_at_file(path: Path) -> Look:
    try:
        image = load_image(path, min_side=HASHED_SIDE)
        size, mode, form = upright_size(path), *_header(path)
        data = path.read_bytes()
    except UnreadableError as error:
        return _Passing(str(error))
    except OSError as error:
        return _Passing(f"cannot be read ({error.strerror})")
    except ValueError as error:
        return Look(str(error))
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    return Look(None, len(data), *size, mode, form, digest, *_fingerprint(image))


def _header(path: Path) -> tuple[str, str]:
    with Image.open(path, formats=FORMATS) as image:
        return image.mode, image.format or ""


def _look_at_pixels(pixels: np.ndarray) -> Look:
    digest = hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16).hexdigest()
    height, width = pixels.shape[:2]
    return Look(None, pixels.nbytes, width, height, "RGB", "", digest, *_fingerprint(Image.fromarray(pixels)))


def _fingerprint(image: Image.Image) -> tuple[str, float]:
    grey = image.convert("L")
    return str(imagehash.phash(grey)), float(np.asarray(grey).std())


def _recalled(values: tuple) -> Look | None:
    """The look that a row is; None if it is none, for the folder may be anyone's."""
    kinds = (str | None, int, int, int, str, str, str, str, int | float)
    if len(values) != len(kinds) or not all(map(isinstance, values, kinds)):
        return None
    is_look = values[0] is not None or re.fullmatch("[0-9a-f]{16}", values[7]) is not None
    return Look(*values) if is_look else None
