"""One look at every image: whether it can be used, what it is, and two fingerprints."""

import hashlib
import os
import re
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import imagehash
import numpy as np
from PIL import Image
from tqdm import tqdm

from mixtransfer.data.images import FORMATS, load_image, upright_size
from mixtransfer.doctor.listing import Listing
from mixtransfer.errors import UserError

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


def look_through(listing: Listing, memory: Path) -> list[Look]:
    """A look at every image, in order; each batch is put down in the file ``memory``, and not repeated."""
    files = [image for image in listing.images if isinstance(image, Path)]
    if not files:
        return [_look_at_pixels(image) for image in tqdm(listing.images, "Looking", leave=False, disable=None)]
    with (
        closing(_Memory(memory)) as remembered,
        tqdm(total=len(files), desc="Looking", leave=False, disable=None) as bar,
    ):
        looks: list[Look] = []
        for batch in _looks(files, remembered):
            looks += batch
            bar.update(len(batch))
        return looks


def _looks(files: list[Path], remembered: "_Memory") -> Iterator[list[Look]]:
    """Batch by batch, so that neither memory nor what an interrupt loses grows with the dataset.

    Threads suffice: Pillow decodes outside Python's global lock.
    """
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for start in range(0, len(files), BATCH):
            batch = files[start : start + BATCH]
            known = remembered.find(batch)
            fresh = [file for file in batch if file not in known]
            known |= dict(zip(fresh, pool.map(_look_at_file, fresh), strict=True))
            remembered.add({file: known[file] for file in fresh})
            yield [known[file] for file in batch]


def _look_at_file(path: Path) -> Look:
    try:
        image = load_image(path, min_side=HASHED_SIDE)
        size, mode, form = upright_size(path), *_header(path)
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        return Look(str(error) if isinstance(error, ValueError) else f"cannot be read ({error.strerror})")
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


class _Memory:
    """Looks by path, size and time of change, in an SQLite file: whole after any interrupt."""

    TABLE = "looks_1"  # another number when ``Look`` changes

    def __init__(self, path: Path):
        self._path = path
        try:
            self._open()
        except sqlite3.OperationalError as error:
            raise UserError(f"{path} cannot be written ({error}): choose another --output.") from error
        except sqlite3.DatabaseError:  # damaged; all that it does is save time
            path.unlink()
            self._open()

    def _open(self) -> None:
        self._database = sqlite3.connect(self._path)
        columns = ", ".join(f"look_{field.name}" for field in fields(Look))
        self._database.execute(f"CREATE TABLE IF NOT EXISTS {self.TABLE} (path PRIMARY KEY, bytes, changed, {columns})")

    def close(self) -> None:
        self._database.close()

    def find(self, paths: list[Path]) -> dict[Path, Look]:
        """Looks at those files that have not changed since."""
        found = {}
        for path in paths:
            try:
                row = self._database.execute(f"SELECT * FROM {self.TABLE} WHERE path = ?", (_key(path),)).fetchone()
            except sqlite3.DatabaseError as error:
                raise UserError(f"{self._path} is damaged ({error}): remove it.") from error
            if row is not None and row[1:3] == _state(path) and _is_look(row[3:]):
                found[path] = Look(*row[3:])
        return found

    def add(self, looks: dict[Path, Look]) -> None:
        rows = [(_key(path), *_state(path), *astuple(look)) for path, look in looks.items()]
        if not rows:
            return
        places = ", ".join("?" * len(rows[0]))
        try:
            with self._database:
                self._database.executemany(f"INSERT OR REPLACE INTO {self.TABLE} VALUES ({places})", rows)
        except sqlite3.DatabaseError as error:
            raise UserError(f"{self._path} cannot be written ({error}): choose another --output.") from error


def _is_look(values: tuple) -> bool:
    """Whether a row is what ``add`` writes: the folder may be anyone's."""
    kinds = (str | None, int, int, int, str, str, str, str, int | float)
    if len(values) != len(kinds) or not all(map(isinstance, values, kinds)):
        return False
    return values[0] is not None or re.fullmatch("[0-9a-f]{16}", values[7]) is not None


def _state(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except OSError:
        return -1, -1
    return state.st_size, state.st_mtime_ns


def _key(path: Path) -> str | bytes:
    """Its name; one that is no text as the bytes that it is."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return os.fsencode(path)
    return str(path)
