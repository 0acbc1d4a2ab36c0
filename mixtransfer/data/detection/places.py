"""The images of the folders and lists that a YOLO or Darknet description names."""

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

from mixtransfer.data.confine import inside
from mixtransfer.data.images import is_image_name
from mixtransfer.data.lookup import is_file, shown
from mixtransfer.data.parts import part_of_path
from mixtransfer.data.text import read_lines
from mixtransfer.data.tree import LITTER, Tree
from mixtransfer.errors import UserError


class Places:
    """Finds the images of the folders and lists that a description names.

    Attributes:
        notes: What was taken for what, in sentences.
    """

    def __init__(self, path: Path, tree: Tree, base: str):
        self.path, self.tree, self.base = path, tree, base
        self.notes: list[str] = []
        self._folders: dict[Path, ValueError | None] = {}

    def parts(self, entries: dict[str, list[str]]) -> dict[str, list[Path]]:
        """The images of each part that is there, from the folders and lists that are named as each.

        Raises:
            UserError: The training part is not there, another one's name is wrong, or something is malformed.
        """
        found: dict[str, list[Path]] = {}
        for part, names in entries.items():
            places = {name: self.place(name) for name in names}
            for name in names:
                if places[name] is None and (part == "train" or len(names) > 1):
                    raise UserError(f"{self.path} names {name!r}, which is not there.")
            if any(places.values()):
                found[part] = sorted({file for place in places.values() if place for file in self._files(place)})
        for part in entries.keys() - found.keys():
            self._note_absence(part, entries[part], {file for files in found.values() for file in files})
        return found

    def _files(self, place: Path) -> list[Path]:
        return images_below(place, self.tree.root) if place.is_dir() else self.listed(place)

    def _note_absence(self, part: str, entries: Sequence[str], listed: set[Path]) -> None:
        what = f"{self.path.name} names {', '.join(map(repr, entries))} as its {part} part, which is not there"
        for name in self.tree.images:
            folders = name.split("/")[:-1]
            if part_of_path(folders) == part and self.tree.root / name not in listed:
                raise UserError(
                    f"{what}, but {self.tree.root.joinpath(*folders)} is: correct the name, or take it out."
                )
        self.notes.append(f"{what}: there is none.")

    def listed(self, place: Path) -> list[Path]:
        """The images that a text file lists, relative to itself or to the dataset's folder.

        Raises:
            UserError: It is no such file, or names something outside.
        """
        try:
            lines = [line for line in read_lines(place) if line]
        except (OSError, ValueError) as error:
            raise UserError(f"{place} is not a text file of image paths ({error}).") from error
        files, other = [], {}
        for line in lines:
            name = line.replace("\\", "/") if not is_file(place.parent / line) else line
            folders = (place.parent, self.tree.root)
            tried = [folder / own for own in _names_of(name) for folder in folders]
            path, beyond = self._first(tried, is_file)
            if path is None and not (beyond and any(map(is_file, tried))) and (end := self._by_end(name)):
                path = self.tree.root / end
                other[line] = end
            if path is None and beyond:
                raise UserError(f"{place} names an image that {beyond}: put {self.path.name} above its images.")
            files.append(path or _plain(self.tree.root, place.parent / name))
        if other:
            line, end = min(other.items())
            self.notes.append(
                f"{place.name}: Images found by the end of their path: {len(other)} ({shown(line)}: {shown(end)})."
            )
        return files

    def place(self, entry: str) -> Path | None:
        """The folder or file that an entry means."""
        entry = entry.strip().replace("\\", "/")
        names = _names_of(entry)
        bases = dict.fromkeys((Path(self.base.replace("\\", "/")), Path()))
        root = self.tree.root
        tried = [root / base / name for name in names for base in bases]
        place, beyond = self._first(tried, _exists)
        if place is not None:
            return place
        if beyond and any(map(_exists, tried)):
            raise UserError(f"{self.path} names {entry!r}, which {beyond}: put {self.path.name} above its images.")
        words = [word for word in entry.split("/") if word not in ("", ".", "..")]
        place, _ = self._first([root.joinpath(*words[i:]) for i in range(1, len(words))], _exists)
        if place is not None:
            self.notes.append(f"{shown(entry)} is taken for {shown(place.relative_to(root).as_posix())}.")
        return place

    def _first(self, places: Sequence[Path], there: Callable[[Path], bool]) -> tuple[Path | None, ValueError | None]:
        """The first of ``places`` that is there and inside, as it is named; and why one is not."""
        beyond = None
        for place in places:
            plain = Path(os.path.normpath(place))
            if (reason := self._beyond(plain)) is not None:
                beyond = beyond or reason
            elif there(plain):
                return plain, None
        return None, beyond

    def _beyond(self, plain: Path) -> ValueError | None:
        """Why a path leads out of the dataset's folder, as it is named or through a link; None if it does not."""
        folder = plain if plain == self.tree.root else plain.parent
        if folder not in self._folders:
            self._folders[folder] = _outside(self.tree.root, folder)
        reason = self._folders[folder]
        return _outside(self.tree.root, plain) if reason is None and _is_link(plain) else reason

    def _by_end(self, name: str) -> str | None:
        """The longest end of a path that is an image below the root."""
        words = [word for word in name.split("/") if word not in ("", ".", "..")]
        return next((end for i in range(1, len(words)) if (end := "/".join(words[i:])) in self._images), None)

    @cached_property
    def _images(self) -> set[str]:
        return set(self.tree.images)


def _names_of(name: str) -> list[str]:
    """What is meant by a path: Roboflow writes ../train/images, and CVAT data/train.txt, for what lies beside."""
    return list(dict.fromkeys((name, name.removeprefix("../"), name.removeprefix("data/"))))


def _outside(root: Path, path: Path) -> ValueError | None:
    try:
        inside(root, os.fspath(path))
        if not path.is_relative_to(root):
            raise ValueError(f"lies outside of {root}")
    except ValueError as error:
        return error
    return None


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except (OSError, ValueError):
        return False


def _plain(root: Path, path: Path) -> Path:
    plain = Path(os.path.normpath(path))
    return plain if plain.is_relative_to(root) else root / plain.name


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def images_below(folder: Path, root: Path) -> list[Path]:
    """The images of a folder and those below it. Links to folders are followed if they stay inside of ``root``."""
    images: list[Path] = []
    seen = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        here = Path(parent)
        real = here.resolve()
        if real in seen or not real.is_relative_to(root):
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in LITTER)
        images += [here / name for name in names if is_image_name(here / name)]
    return images
