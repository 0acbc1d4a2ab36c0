"""What people upload is kept in one folder, which has an end: of bytes and of files."""

import contextlib
import math
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

RECEIVED = 4  # times the largest file: what is that large is still received, to be answered with a sentence
FILES_AT_ONCE = 1000  # that gradio takes
DROPS = 2  # full ones, for which there is room
MEGABYTE = 1_000_000


@dataclass(frozen=True, order=True)
class _Entry:
    changed: float  # seconds, of the newest file
    path: Path
    bytes: int
    files: int


@dataclass
class Kept:
    """The folder of all that is uploaded; the oldest goes when there is no room for more.

    What is on the disk is counted, whoever wrote it: half of an upload, and what gradio puts there, too.

    Attributes:
        folder: It should hold nothing else.
        largest: Bytes of one upload, of one or more files.
        most_bytes, most_files: Of all.
    """

    folder: Path
    largest: int
    most_bytes: int
    most_files: int
    _counted: int = 0
    _arrived: int = 0  # since they were counted
    _started: dict[object, float] = field(default_factory=dict)  # when the uploads on their way have begun

    @classmethod
    def for_limits(cls, folder: Path, max_images: int, max_megabytes: int) -> "Kept":
        """Room for two full drops, but for no more than half of what the disk has free."""
        largest = max(max_images, RECEIVED) * max_megabytes * MEGABYTE + MEGABYTE  # that for what is not the files
        return cls(
            folder,
            largest,
            min(DROPS * largest, shutil.disk_usage(folder).free // 2),
            DROPS * max(max_images, FILES_AT_ONCE),
        )

    @contextlib.contextmanager
    def receiving(self) -> Iterator[None]:
        """Keep what is written from now on until the end."""
        upload = object()
        self._started[upload] = time.time() - 1  # clocks of files are coarse
        try:
            self._make_room(0)
            yield
        finally:
            del self._started[upload]
            self._make_room(0)

    def take(self, size: int) -> bool:
        """Count bytes that arrive, before they are written; whether there is room for them."""
        if self._counted + self._arrived + size > self.most_bytes:
            self._make_room(size)
        self._arrived += size
        return self._counted + self._arrived <= self.most_bytes

    def _make_room(self, size: int) -> None:
        """Count anew; where there is too much, the oldest goes, and a bit more, so as not to be here at every byte."""
        entries = sorted(_entries(self.folder))
        held, files = sum(entry.bytes for entry in entries), sum(entry.files for entry in entries)
        if held + size > self.most_bytes or files > self.most_files:
            first = min(self._started.values(), default=math.inf)
            for entry in entries:
                if held + size <= 7 / 8 * self.most_bytes and files <= 7 / 8 * self.most_files:
                    break
                # A finished upload is in a folder of its own; a file that lies open may be one on its way.
                if entry.path.is_dir() or entry.changed < first:
                    _remove(entry.path)
                    held, files = held - entry.bytes, files - entry.files
        self._counted, self._arrived = held, 0


def _entries(folder: Path) -> Iterator[_Entry]:
    for entry in list(os.scandir(folder)):
        with contextlib.suppress(FileNotFoundError):  # it went meanwhile
            inside = list(Path(entry.path).rglob("*")) if entry.is_dir(follow_symlinks=False) else []
            found = [path.lstat() for path in inside] or [entry.stat(follow_symlinks=False)]
            yield _Entry(
                max(one.st_mtime for one in found), Path(entry.path), sum(one.st_size for one in found), len(found)
            )


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
