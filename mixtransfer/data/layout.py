"""What the levels of an image folder are: parts, classes, or neither. The one place that decides it, and says so.

A level is judged by what lies below it, not by names alone: "train" beside "plane" is a class if it holds images, and a
part if it holds class folders.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from mixtransfer.data.images import is_image_name
from mixtransfer.errors import UserError

LayoutName = Literal["auto", "split", "class", "nested"]
LAYOUTS = {
    "split": "the top folders are parts, those below them classes",
    "class": "the top folders are classes",
    "nested": "the folders below the top ones are classes",
}

# What people call the parts, without case, and without what stands between and behind the words.
PART_NAMES = {
    "train": "train", "training": "train", "trn": "train",
    "val": "val", "valid": "val", "validation": "val", "validate": "val", "dev": "val", "development": "val",
    "test": "test", "testing": "test", "tst": "test", "holdout": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
_BEHIND = re.compile(r"(set|data|dataset|images?|imgs?|pictures|photos|split|part)+$")
_FOLD = re.compile(r"(cv|k)?(fold|split|part|batch|chunk|shard|set)\d+")
_TOOLS = {"__macosx", "__pycache__", "@eadir", "$recycle.bin", "lost+found"}


def part_name(folder: str) -> str | None:
    """The part that a folder or a column's value is called after: "train", "val", "test", or None.

    Examples:
        >>> [part_name(name) for name in ("train", "Training_Set", "test-images", "dev", "cat")]
        ['train', 'train', 'test', 'val', None]
    """
    plain = re.sub(r"[^a-z]", "", folder.lower())
    return PART_NAMES.get(plain) or PART_NAMES.get(_BEHIND.sub("", plain))


def is_left_behind(name: str) -> bool:
    """Whether a folder's name is that of what tools leave behind (hidden ones are)."""
    return name.startswith(".") or name.lower() in _TOOLS


class Folder:
    """A folder of the data, listed once.

    Links are followed, but for those to a folder that they lie in.

    Args:
        ignored: Folders that count as not there.
    """

    def __init__(self, path: Path, ignored: Callable[[Path], bool]):
        self.path, self.name, self._ignored = path, path.name, ignored

    @cached_property
    def _entries(self) -> tuple[list["Folder"], list[Path], list[Path]]:
        folders: list[Folder] = []
        images: list[Path] = []
        others: list[Path] = []
        try:
            with os.scandir(self.path) as entries:
                for entry in entries:
                    path = self.path / entry.name
                    if not entry.is_dir():
                        (images if is_image_name(path) else others).append(path)
                    elif not (is_left_behind(entry.name) or self._ignored(path) or self._is_loop(entry)):
                        folders.append(Folder(path, self._ignored))
        except OSError as error:
            raise UserError(f"{error.filename} cannot be read ({error.strerror}).") from error
        return sorted(folders, key=lambda folder: folder.name), sorted(images), sorted(others)

    def _is_loop(self, entry: os.DirEntry) -> bool:
        return entry.is_symlink() and self.path.resolve().is_relative_to((self.path / entry.name).resolve())

    @property
    def folders(self) -> list["Folder"]:
        return self._entries[0]

    @property
    def images(self) -> list[Path]:
        """Directly in it."""
        return self._entries[1]

    @property
    def others(self) -> list[Path]:
        """Files directly in it whose names are not those of images."""
        return self._entries[2]

    @cached_property
    def holds_images(self) -> bool:
        """At any depth."""
        return bool(self.images) or any(folder.holds_images for folder in self.folders)

    @property
    def classes(self) -> list["Folder"]:
        """The folders in it that hold images."""
        return [folder for folder in self.folders if folder.holds_images]

    def walk(self) -> Iterator["Folder"]:
        """It and all folders below."""
        yield self
        for folder in self.folders:
            yield from folder.walk()


@dataclass(frozen=True)
class Layout:
    """How a folder is read.

    Attributes:
        parts: "all", or "train" with "val" and "test" as far as they are there, and the folders of each that hold
            class folders.
        has_unlabelled_test: Whether there is a test part, but its classes are not known.
        notes: What was taken for what, and what was left out, in sentences for the user.
    """

    parts: dict[str, list[Folder]]
    has_unlabelled_test: bool
    notes: list[str]


def recognize(root: Path, layout: LayoutName = "auto", ignored: Callable[[Path], bool] = lambda _: False) -> Layout:
    """Decide what the levels of an image folder are.

    Args:
        layout: What they are, for a folder that can be read in two ways.
        ignored: Folders that count as not there.

    Raises:
        UserError: There are two readings, and ``layout`` decides neither, or none.
    """
    top, notes = Folder(root, ignored), []
    while layout == "auto" and _wraps(top):
        (top,) = top.classes
        notes.append(f"{root} holds nothing but the folder {top.name}, which is read in its place.")
    parts: dict[str, list[Folder]] = {}
    for folder in top.classes:
        if (part := part_name(folder.name)) and layout in ("auto", "split"):
            parts.setdefault(part, []).append(folder)
    if layout == "split" and "train" not in parts:
        raise UserError(f"--layout split: {top.path} has no folder called train.")
    if layout in ("class", "nested") or not _are_parts(top, parts):
        return Layout({"all": _class_level([top], root, layout, notes)}, False, notes)
    read = _parts(top, parts, root, layout, notes)
    unlabelled = "test" in parts and "test" not in read
    return Layout(read if len(read) > 1 else {"all": read["train"]}, unlabelled, notes)


def _wraps(folder: Folder) -> bool:
    """Whether it holds one folder of folders, as an unpacked archive does."""
    inner = folder.classes
    return not folder.images and len(inner) == 1 and len(inner[0].classes) > 1 and not part_name(inner[0].name)


def _are_parts(top: Folder, parts: dict[str, list[Folder]]) -> bool:
    """Whether the folders with a part's name are parts: of a class "train" the images lie directly in it."""
    return "train" in parts and all(folder.classes and not folder.images for folder in parts["train"])


def _parts(
    top: Folder, parts: dict[str, list[Folder]], root: Path, layout: LayoutName, notes: list[str]
) -> dict[str, list[Folder]]:
    others = [f.name for f in top.classes if not any(f in folders for folders in parts.values())]
    if others:
        notes.append(f"Left out, beside the parts: {_listed(others)}.")
    for part, folders in parts.items():
        if len(folders) > 1 or folders[0].name.lower() != part:
            notes.append(f"{_listed([f.name for f in folders])} is read as the {part} part.")
    read = {}
    for part, folders in parts.items():
        labelled = [folder for folder in folders if folder.classes]
        if not labelled:
            images = sum(len(folder.images) for folder in folders)
            notes.append(
                f"{_listed([f.name for f in folders])} has {images} images without class folders: their classes are "
                "not known, so they are left out."
            )
            continue
        read[part] = _class_level(labelled, root, layout, notes)
    return read


def _class_level(tops: Sequence[Folder], root: Path, layout: LayoutName, notes: list[str]) -> list[Folder]:
    """The folders whose folders are the classes: ``tops``, or those in them.

    Raises:
        UserError: Both can be, and the option decides neither.
    """
    middle = [folder for top in tops for folder in top.classes]
    nested = middle and all(folder.classes and not folder.images for folder in middle)
    if layout == "nested" and not nested:
        raise UserError(f"--layout nested: not every folder in {tops[0].path} holds class folders only.")
    if not nested or layout in ("class", "split"):
        return list(tops)
    said = _why_no_classes(middle)
    if layout == "nested" or said:
        if said:
            notes.append(said)
        return middle
    inner = sorted({folder.name for one in middle for folder in one.classes})
    raise UserError(
        f"{root} can be read in two ways: the classes are {_listed([f.name for f in middle])} (--layout class), or "
        f"{_listed(inner)} (--layout nested)."
    )


def _why_no_classes(folders: Sequence[Folder]) -> str | None:
    """Why folders of folders cannot be classes, in a sentence, or None if they can."""
    names = [folder.name for folder in folders]
    plain = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in names]
    if all(_FOLD.fullmatch(name) or name.isdigit() for name in plain) and len(_shared(folders)) > 1:
        return f"{_listed(names)} are read as folds of one data set, and joined."
    first = [(name, inner.name) for folder, name in zip(folders, names, strict=True) for inner in folder.classes]
    if all(len(name) == 1 and inner.lower().startswith(name.lower()) for name, inner in first):
        return f"{_listed(names)} are letters above the classes, no classes."
    return None


def _shared(folders: Sequence[Folder]) -> set[str]:
    """Names of the folders that each of ``folders`` holds."""
    return set.intersection(*({inner.name for inner in folder.classes} for folder in folders))


def _listed(names: Iterable[str], most: int = 4) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
