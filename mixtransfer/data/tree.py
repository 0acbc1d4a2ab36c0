"""The files below a folder, seen once, without what nobody put there to be read."""

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from mixtransfer.data.images import IMAGE_SUFFIXES

RUN_FILES = frozenset({"model.json", "metrics.csv", "comparison.json", "search.json"})  # beside config.yaml
LITTER = frozenset({"__MACOSX", "@eaDir", "lost+found"})
PHOTOGRAPHS = frozenset(
    {".heic", ".heif", ".avif", ".jp2", ".j2k", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2"}
)


class Tree:
    """What lies below a folder.

    Hidden files and folders, those that archives and systems leave behind, and the folders of runs are passed over.
    Links to files are files. Links to folders are not followed: what they lead to inside the tree is seen there.

    Attributes:
        root: The folder.
    """

    def __init__(self, root: Path):
        self.root = root

    @cached_property
    def _seen(self) -> dict[str, list[str]]:
        seen: dict[str, list[str]] = {"file": [], "link": [], "empty": [], "closed": [], "run": []}
        for name, kind in _walk(self.root, ""):
            seen[kind].append(name)
        return {kind: sorted(names) for kind, names in seen.items()}

    @property
    def files(self) -> list[str]:
        """Paths below the root, in POSIX form, sorted."""
        return self._seen["file"]

    @property
    def links(self) -> list[str]:
        """Links to folders outside of the root, which are not followed."""
        return self._seen["link"]

    @property
    def empty(self) -> list[str]:
        """Folders in which nothing lies."""
        return self._seen["empty"]

    @property
    def closed(self) -> list[str]:
        """Folders that may not be read."""
        return self._seen["closed"]

    @property
    def runs(self) -> list[str]:
        """Folders that our own commands have written: of trainings, comparisons and searches."""
        return self._seen["run"]

    def having(self, *suffixes: str) -> list[str]:
        """The files whose names end with one of ``suffixes``, in any case."""
        return [name for name in self.files if name.lower().endswith(suffixes)]

    @cached_property
    def images(self) -> list[str]:
        """The files with an image's name."""
        return self.having(*IMAGE_SUFFIXES)

    @cached_property
    def unread(self) -> list[str]:
        """Photographs in formats that are not read."""
        return self.having(*PHOTOGRAPHS - IMAGE_SUFFIXES)

    @cached_property
    def folders(self) -> list[str]:
        """The folders directly below the root in which something lies."""
        return sorted({name.split("/", 1)[0] for name in self.files if "/" in name})


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, str]]:
    """What lies below ``folder``, and its kind: a "file", a "link" to a folder outside, or a folder that is "empty",
    "closed" or of a "run"."""
    pending = [(os.fspath(folder), prefix)]
    root = os.path.realpath(folder)
    while pending:
        here, prefix = pending.pop()
        try:
            with os.scandir(here) as entries:
                found = [entry for entry in entries if not entry.name.startswith(".") and entry.name not in LITTER]
        except OSError:
            yield prefix.rstrip("/"), "closed"
            continue
        names = {entry.name for entry in found}
        if prefix and "config.yaml" in names and names & RUN_FILES:
            yield prefix.rstrip("/"), "run"
            continue
        if prefix and not found:
            yield prefix.rstrip("/"), "empty"
        for entry in found:
            name = prefix + entry.name
            try:
                is_folder = entry.is_dir()
            except OSError:
                is_folder = False
            if not is_folder:
                yield name, "file"
            elif not entry.is_symlink():
                pending.append((entry.path, name + "/"))
            elif not Path(os.path.realpath(entry.path)).is_relative_to(root):
                yield name, "link"
