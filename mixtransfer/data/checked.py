"""What is known of image files from earlier starts, so that each is decoded once and not by every command anew."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import PIL

from mixtransfer import __version__
from mixtransfer.batches import batches

AT_ONCE = 500  # names in one query


def cache_folder() -> Path:
    """Where results are kept that can be made again: $MIXTRANSFER_CACHE, or a folder of the user's cache."""
    if own := os.environ.get("MIXTRANSFER_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mixtransfer"


class Checked:
    """Reasons why files cannot be used, or None, by path, size and time of the last change.

    It is a convenience: where it cannot be written or read, nothing is known.
    """

    def __init__(self) -> None:
        # Another version of the decoder may come to another answer.
        self.file = cache_folder() / f"checked-{__version__}-pillow-{PIL.__version__}.sqlite"

    def known(self, states: Mapping[Path, tuple[int, int]]) -> dict[Path, str | None]:
        """What is known of files that are as they were.

        Args:
            states: Size and time in nanoseconds of each file.
        """
        found: dict[Path, str | None] = {}
        with contextlib.suppress(sqlite3.Error, OSError), self._open() as base:
            by_name = {_name(path): path for path in states}
            for names in batches(list(by_name), AT_ONCE):
                marks = ",".join("?" * len(names))
                rows = base.execute(f"SELECT name, size, time, reason FROM files WHERE name IN ({marks})", names)
                for name, size, time, reason in rows:
                    if states[by_name[name]] == (size, time):
                        found[by_name[name]] = reason
        return found

    def add(self, states: Mapping[Path, tuple[int, int]], reasons: Mapping[Path, str | None]) -> None:
        """Remember what has been found of files in the states that they had before."""
        rows = [(_name(path), *states[path], reason) for path, reason in reasons.items() if path in states]
        with contextlib.suppress(sqlite3.Error, OSError), self._open() as base:
            base.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", rows)
            base.commit()

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(self.file, timeout=5)) as base:
            base.execute(
                "CREATE TABLE IF NOT EXISTS files (name BLOB PRIMARY KEY, size INTEGER, time INTEGER, reason TEXT) "
                "WITHOUT ROWID"
            )
            yield base


def states_of(paths: Sequence[Path]) -> dict[Path, tuple[int, int]]:
    """Size and time of the last change, in nanoseconds, of the files that are there."""
    states = {}
    for path in paths:
        with contextlib.suppress(OSError, ValueError):  # a name may be too long, or no text
            state = path.stat()
            states[path] = (state.st_size, state.st_mtime_ns)
    return states


def _name(path: Path) -> bytes:
    return os.fsencode(os.path.abspath(path))  # noqa: PTH100 (links stay what they are)
