"""What DATA names that begins with "hf:"."""

import contextlib
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from mixtransfer.data.names import PACKED
from mixtransfer.data.tree import Tree
from mixtransfer.errors import UserError

SHARDS = (".parquet", ".tar")


def is_packed(data: str) -> bool:
    """Whether DATA is for ``datasets``: "hf:user/name", "hf:FOLDER"."""
    return data.startswith(PACKED)


@dataclass(frozen=True)
class Source:
    """What to ask ``datasets`` for: a name on the hub or a folder, and which of its configurations and columns."""

    name: str
    config: str | None = None
    column: str | None = None

    @classmethod
    def parse(cls, data: str) -> "Source":
        """Read "hf:user/name@config#column"."""
        rest, _, column = data.removeprefix(PACKED).partition("#")
        name, _, config = rest.partition("@") if not Path(rest).is_dir() else (rest, "", "")
        if not name.strip():
            raise UserError(f"{data!r} names no data set: give hf:user/name, or hf:FOLDER.")
        return cls(name, config or None, column or None)

    @property
    def folder(self) -> str:
        """A name for the folder that it is written to, and nothing else is."""
        is_more = bool(self.config or self.column)
        if not (is_more or self._is_local) and re.fullmatch(r"\w+(/\w+)?", self.name):
            return self.older_folder
        whole = "\0".join((self.place, self.config or "", self.column or "")) if is_more else self.place
        return f"{self._plain}-{hashlib.blake2b(whole.encode(), digest_size=4).hexdigest()}"

    @property
    def place(self) -> str:
        """What ``datasets`` takes: the name, or the folder's whole path."""
        return str(Path(self.name).resolve()) if self._is_local else self.name

    @property
    def older_folder(self) -> str:
        """The name that versions before gave to what is on the hub, which others may have too."""
        return self._plain

    @property
    def _plain(self) -> str:
        words = [Path(self.name).resolve().name if self._is_local else self.name, self.config or "", self.column or ""]
        return "-".join(re.sub(r"[^\w.-]+", "-", word).strip("-.") for word in words if word)

    @property
    def _is_local(self) -> bool:
        return Path(self.name).is_dir()

    def state(self, written: Path) -> str | None:
        """Tells whether the files of a folder are still the same; None of what the hub has.

        What our own commands write there is none of them: what is written out, and all but shards in ``runs/``.

        Args:
            written: Where data is written out to, which may lie in it.
        """
        if not self._is_local:
            return None
        root, own = Path(self.name).resolve(), written.resolve()
        found = hashlib.blake2b(digest_size=16)
        for name in Tree(root).files:
            file = root / name
            if file.is_relative_to(own) or (name.startswith("runs/") and not name.endswith(SHARDS)):
                continue
            with contextlib.suppress(FileNotFoundError):
                stat = file.stat()
                found.update(os.fsencode(f"{name} {stat.st_size} {stat.st_mtime_ns}\n"))
        return found.hexdigest()

    def may_read(self, path: Path) -> bool:
        """Whether a file that a row names belongs to the data: a table from a stranger could name any."""
        import datasets

        homes = (Path(self.name), Path(datasets.config.HF_CACHE_HOME))
        return any(path.resolve().is_relative_to(home.resolve()) for home in homes)
