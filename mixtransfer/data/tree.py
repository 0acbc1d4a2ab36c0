"""The files below a folder, seen once, without what nobody put there to be read."""

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from mixtransfer.data.images import IMAGE_SUFFIXES

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
    def _seen(self) -> tuple[list[str], list[str]]:
        files: list[str] = []
        links: list[str] = []
        for name, is_link in _walk(self.root, ""):
            (links if is_link else files).append(name)
        return sorted(files), sorted(links)

    @property
    def files(self) -> list[str]:
        """Paths below the root, in POSIX form, sorted."""
        return self._seen[0]

    @property
    def links(self) -> list[str]:
        """Links to folders outside of the root, which are not followed."""
        return self._seen[1]

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


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, bool]]:
    """Files, and links to folders outside, below ``folder``."""
    pending = [(os.fspath(folder), prefix)]
    root = os.path.realpath(folder)
    while pending:
        here, prefix = pending.pop()
        try:
            with os.scandir(here) as entries:
                found = [entry for entry in entries if not entry.name.startswith(".") and entry.name not in LITTER]
        except OSError:  # a folder that may not be read
            continue
        names = {entry.name for entry in found}
        if prefix and "config.yaml" in names and names & {"model.json", "metrics.csv"}:
            continue
        for entry in found:
            name = prefix + entry.name
            try:
                is_folder = entry.is_dir()
            except OSError:
                is_folder = False
            if not is_folder:
                yield name, False
            elif not entry.is_symlink():
                pending.append((entry.path, name + "/"))
            elif not Path(os.path.realpath(entry.path)).is_relative_to(root):
                yield name, True
