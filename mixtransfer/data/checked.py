"""What is known of image files from earlier starts, so that each is decoded once and not by every command anew."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import PIL

from mixtransfer import __version__
from mixtransfer.common.batches import batches

AT_ONCE = 500  # names in one query


def cache_folder() -> Path:
    """Where results are kept that can be made again: $MIXTRANSFER_CACHE, or a folder of the user's cache."""
    if own := os.environ.get("MIXTRANSFER_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mixtransfer"


class Remembered:
    """What is known of files, by path, size and time of the last change, in a table of an SQLite file.

    It is a convenience: where it cannot be written or read, nothing is known; a damaged file is begun anew.

    Args:
        file: Where it is, or will be.
        table: Another name where what is known means something else.
        columns: What is known of each.
    """

    def __init__(self, file: Path, table: str, columns: Sequence[str]):
        self.file, self._table, self._columns = file, table, tuple(columns)

    def known(self, states: Mapping[Path, tuple[int, int]]) -> dict[Path, tuple]:
        """What is known of files that are as they were, in the order of the columns.

        Args:
            states: See ``states_of``.
        """
        found: dict[Path, tuple] = {}
        with contextlib.suppress(sqlite3.Error, OSError), self._open() as base:
            by_name = {_name(path): path for path in states}
            for names in batches(list(by_name), AT_ONCE):
                marks = ",".join("?" * len(names))
                rows = base.execute(f"SELECT * FROM {self._table} WHERE name IN ({marks})", names)
                for name, size, time, *values in rows:
                    if states[by_name[name]] == (size, time):
                        found[by_name[name]] = tuple(values)
        return found

    def add(self, states: Mapping[Path, tuple[int, int]], values: Mapping[Path, tuple]) -> None:
        """Remember what has been found of files in the states that they had before."""
        rows = [(_name(path), *states[path], *its) for path, its in values.items() if path in states]
        marks = ",".join("?" * (3 + len(self._columns)))
        with contextlib.suppress(sqlite3.Error, OSError), self._open() as base:
            base.executemany(f"INSERT OR REPLACE INTO {self._table} VALUES ({marks})", rows)
            base.commit()

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        columns = ", ".join(self._columns)
        with contextlib.closing(sqlite3.connect(self.file, timeout=5)) as base:
            try:
                base.execute(
                    f"CREATE TABLE IF NOT EXISTS {self._table} "
                    f"(name BLOB PRIMARY KEY, size, time, {columns}) WITHOUT ROWID"
                )
            except sqlite3.OperationalError:  # in use, or not to be written
                raise
            except sqlite3.DatabaseError:
                self.file.unlink(missing_ok=True)
                raise
            yield base


class Checked(Remembered):
    """Reasons why files cannot be used, or None, in the user's cache."""

    def __init__(self) -> None:
        # Another version of the decoder may come to another answer.
        file = cache_folder() / f"checked-{__version__}-pillow-{PIL.__version__}.sqlite"
        super().__init__(file, "verdicts", ["reason"])


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
