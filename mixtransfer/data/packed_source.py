"""What DATA names that begins with "hf:"."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from mixtransfer.data.names import PACKED
from mixtransfer.errors import UserError


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
        """A name for the folder that it is written to."""
        local = Path(self.name)
        words = [local.resolve().name if local.is_dir() else self.name, self.config or "", self.column or ""]
        plain = "-".join(re.sub(r"[^\w.-]+", "-", word).strip("-.") for word in words if word)
        where = str(local.resolve()) if local.is_dir() else ""
        return plain + (f"-{hashlib.blake2b(where.encode(), digest_size=4).hexdigest()}" if where else "")

    def state(self, written: Path) -> str | None:
        """Tells whether the files of a folder are still the same; None of what the hub has.

        Args:
            written: Where data is written out to, which may lie in it.
        """
        root = Path(self.name)
        if not root.is_dir():
            return None
        found = hashlib.blake2b(digest_size=16)
        own = written.resolve()
        for file in sorted(path for path in root.resolve().rglob("*") if path.is_file()):
            if file.is_relative_to(own):
                continue
            stat = file.stat()
            found.update(os.fsencode(f"{file.relative_to(root.resolve())} {stat.st_size} {stat.st_mtime_ns}\n"))
        return found.hexdigest()

    def may_read(self, path: Path) -> bool:
        """Whether a file that a row names belongs to the data: a table from a stranger could name any."""
        import datasets

        homes = (Path(self.name), Path(datasets.config.HF_CACHE_HOME))
        return any(path.resolve().is_relative_to(home.resolve()) for home in homes)
