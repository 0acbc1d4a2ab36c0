"""What the levels of an image folder are: parts, classes, or neither. The one place that decides it, and says so.

A level is judged by what lies below it, not by names alone: "train" beside "plane" is a class if it holds images, and a
part if it holds class folders.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from mixtransfer.data import FolderLayout
from mixtransfer.data.division import counted
from mixtransfer.data.images import IMAGE_SUFFIXES
from mixtransfer.data.lookup import some
from mixtransfer.data.parts import part_of_folder
from mixtransfer.data.tree import Tree
from mixtransfer.errors import UserError

_FOLD = re.compile(r"(?:cv|k)?(?:fold|split|part|batch|chunk|shard|set)?\d+")


@dataclass
class Folder:
    """A folder of the data.

    Attributes:
        name: The last part of its path.
        files: Paths below the root of the data of the files directly in it.
        inner: The folders directly in it, by name.
    """

    name: str
    files: list[str] = field(default_factory=list)
    inner: dict[str, "Folder"] = field(default_factory=dict)

    @classmethod
    def of(cls, tree: Tree) -> "Folder":
        """The folder of a tree, with all below; those without a file are there too."""
        root = cls(tree.root.name)
        for name in [*tree.files, *(f"{folder}/" for folder in tree.empty)]:
            *folders, file = name.split("/")
            here = root
            for folder in folders:
                here = here.inner.setdefault(folder, cls(folder))
            if file:
                here.files.append(name)
        return root

    @property
    def folders(self) -> list["Folder"]:
        return [self.inner[name] for name in sorted(self.inner)]

    @cached_property
    def images(self) -> list[str]:
        """The images directly in it, as ``files``."""
        return [name for name in self.files if name.lower().endswith(tuple(IMAGE_SUFFIXES))]

    @property
    def others(self) -> list[str]:
        """The other files directly in it."""
        images = set(self.images)
        return [name for name in self.files if name not in images]

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
class Reading:
    """How a folder is read.

    Attributes:
        parts: "all", or "train" with "val" and "test" as far as they are there, and the folders of each that hold
            class folders.
        has_unlabelled_test: Whether there is a test part whose classes are not known.
        left: Folders whose images are left out, as ``notes`` say.
        notes: What was taken for what, and what was left out, in sentences for the user.
    """

    parts: dict[str, list[Folder]]
    has_unlabelled_test: bool
    left: list[Folder]
    notes: list[str]


def recognize(root: Path, top: Folder, layout: FolderLayout = "auto") -> Reading:
    """Decide what the levels of an image folder are.

    Args:
        root: Its path, for messages.
        layout: What they are, for a folder that can be read in two ways.

    Raises:
        UserError: There are two readings and ``layout`` decides neither, or it cannot be as ``layout`` says.
    """
    notes: list[str] = []
    while _wraps(top):
        (top,) = top.classes
        notes.append(f"{root} holds nothing but the folder {top.name}, which is read in its place.")
    parts: dict[str, list[Folder]] = {}
    for folder in top.folders if layout in ("auto", "split") else ():
        if (part := part_of_folder(folder.name)) and folder.holds_images:
            parts.setdefault(part, []).append(folder)
        elif part:
            notes.append(f"{folder.name} holds no images, and is passed over.")
    if layout == "split" and "train" not in parts:
        raise UserError(f"--layout split: {root} has no folder called train.")
    # Of a class called "train" the images lie directly in it, of a part in the folders of its classes.
    trained = parts.get("train", [])
    if layout == "auto" and (mixed := next((folder for folder in trained if folder.classes and folder.images), None)):
        raise UserError(
            f"{root} can be read in two ways: {mixed.name} is the training part, without the images directly in it "
            f"(--layout split), or one of the classes (--layout class)."
        )
    if not trained or not all(folder.classes for folder in trained):
        return Reading({"all": _class_level([top], root, layout, notes)}, False, [], notes)
    read, left = _labelled(top, parts, root, layout, notes)
    unlabelled = "test" in parts and "test" not in read
    return Reading(read if len(read) > 1 else {"all": read["train"]}, unlabelled, left, notes)


def _wraps(folder: Folder) -> bool:
    """Whether it holds one folder of folders, as an unpacked archive does, or one that wraps in turn."""
    inner = folder.classes
    if folder.images or len(inner) != 1 or part_of_folder(inner[0].name):
        return False
    return len(inner[0].classes) > 1 or _wraps(inner[0])


def _labelled(
    top: Folder, parts: dict[str, list[Folder]], root: Path, layout: FolderLayout, notes: list[str]
) -> tuple[dict[str, list[Folder]], list[Folder]]:
    """The parts that have class folders, and the folders that are left out."""
    left = [f for f in top.classes if not any(f in folders for folders in parts.values())]
    if left:
        notes.append(f"Left out beside the parts: {some([folder.name for folder in left])}.")
    read = {}
    for part, folders in parts.items():
        labelled = [folder for folder in folders if folder.classes]
        names = [folder.name for folder in labelled]
        if labelled:
            read[part] = _class_level(labelled, root, layout, notes)
        if names and names != [part]:
            notes.append(f"{some(names)} {'is' if len(names) == 1 else 'are'} read as the {part} part.")
        if bare := [folder for folder in folders if not folder.classes]:
            count = counted(sum(len(folder.images) for folder in bare))
            notes.append(
                f"Left out: {count} of {some([folder.name for folder in bare])}, whose classes are not known (no class "
                "folders)."
            )
            left += bare
    return read, left


def _class_level(tops: Sequence[Folder], root: Path, layout: FolderLayout, notes: list[str]) -> list[Folder]:
    """The folders whose folders are the classes: ``tops``, or those in them.

    Raises:
        UserError: Both can be, and the option decides neither.
    """
    middle = [folder for top in tops for folder in top.classes]
    nested = bool(middle) and all(folder.classes and not folder.images for folder in middle)
    if layout == "nested" and not nested:
        raise UserError(f"--layout nested: not all folders in {root} hold class folders and nothing else.")
    if not nested or layout == "class":
        return list(tops)
    said = _why_no_classes(middle)
    if said:
        notes.append(said)
    elif layout != "nested":
        inner = sorted({folder.name for one in middle for folder in one.classes})
        raise UserError(
            f"{root} can be read in two ways: its classes are {some([f.name for f in middle])} (--layout class), or "
            f"{some(inner)} (--layout nested)."
        )
    return middle


def _why_no_classes(folders: Sequence[Folder]) -> str | None:
    """Why folders of folders cannot be classes, in a sentence, or None if they can."""
    names = [folder.name for folder in folders]
    plain = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in names]
    shared = set.intersection(*({inner.name for inner in folder.classes} for folder in folders))
    if all(map(_FOLD.fullmatch, plain)) and len(shared) > 1:
        return f"{some(names)} are read as folds of one data set, and joined."
    if all(len(one.name) == 1 and i.name.lower().startswith(one.name.lower()) for one in folders for i in one.classes):
        return f"{some(names)} are letters above the classes, and no classes."
    return None
