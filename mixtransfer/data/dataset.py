"""An image-classification dataset in memory: names of files or small arrays, labels, classes, splits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path

import numpy as np
from PIL import Image

from mixtransfer.data.division import Division, Found
from mixtransfer.data.draw import Draw
from mixtransfer.data.images import load_image
from mixtransfer.data.labels import is_multilabel, label_names
from mixtransfer.data.names import relative_names
from mixtransfer.data.split_file import Split
from mixtransfer.data.splits import TooFew
from mixtransfer.errors import UserError


@dataclass(frozen=True)
class Examples:
    """Labelled images of one split.

    Attributes:
        images: Either a list of files, or a uint8 array of shape (n, height, width, 3).
        labels: Class index of each, int64, shape (n,), or several labels; see ``mixtransfer.data.labels``.
    """

    images: list[Path] | np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int, min_side: int | None = None) -> Image.Image:
        """The image at ``index``, RGB; for ``min_side`` see ``load_image``.

        Raises:
            UserError: The file cannot be used (any more).
        """
        source = self.images[index]
        if not isinstance(source, Path):
            return Image.fromarray(source)
        try:
            return load_image(source, min_side)
        except ValueError as error:
            raise UserError(f"{source} {error}: mend or remove it, then go on with --resume.") from error

    def label(self, index: int) -> int | np.ndarray:
        """The class of the image at ``index``, or of several labels uint8 (classes,)."""
        return self.labels[index] if is_multilabel(self.labels) else int(self.labels[index])

    def name(self, index: int) -> str:
        """What to call the image in a report: its folder and file, or its position."""
        source = self.images[index]
        return f"{source.parent.name}/{source.name}" if isinstance(source, Path) else f"image {index}"

    def subset(self, positions: np.ndarray) -> "Examples":
        if isinstance(self.images, np.ndarray):
            return Examples(self.images[positions], self.labels[positions])
        return Examples([self.images[i] for i in positions], self.labels[positions])

    def joined(self, other: "Examples") -> "Examples":
        """These and the others of the same kind, in this order."""
        labels = np.concatenate([self.labels, other.labels])
        if isinstance(self.images, np.ndarray):
            return Examples(np.concatenate([self.images, other.images]), labels)
        return Examples([*self.images, *other.images], labels)


@dataclass(frozen=True)
class ImageDataset:
    """A dataset with its three parts. Model selection looks at ``val``; ``test`` is touched once, at the end.

    Attributes:
        name: Short name, for titles and folder names.
        classes: Class names, in label order.
        notes: What was decided about the splits, in sentences for the user.
        skipped: Unusable files with the reason.
        new: Images that came after the split of a run was drawn, and are in none of its parts.
        found, division: All images and where they went, for ``split``.
        is_writing: Whether the images show digits or letters, which are others when they are mirrored.
    """

    name: str
    classes: list[str]
    train: Examples
    val: Examples
    test: Examples
    notes: list[str] = field(default_factory=list)
    skipped: dict[Path, str] = field(default_factory=dict)
    new: Examples = field(default_factory=lambda: Examples([], np.empty(0, np.int64)))
    found: Found | None = field(default=None, repr=False)
    division: Division | None = field(default=None, repr=False)
    is_writing: bool = False

    @classmethod
    def divided(
        cls,
        name: str,
        source: Path | str,
        classes: list[str],
        parts: Mapping[str, Examples],
        by: Draw | Split,
        root: Path | None = None,
        groups: Mapping[Path, str] | None = None,
        notes: list[str] | None = None,
        skipped: dict[Path, str] | None = None,
        has_unlabelled_test: bool = False,
    ) -> "ImageDataset":
        """A dataset of usable images, which are in the parts that the data has, or "all".

        Args:
            source: What lists them, for errors.
            by: How to draw the parts that are missing, or the split of a run.
            root: The folder that paths are relative to; None of images without files.
            groups: Of the files that have one.
            has_unlabelled_test: See ``Found``.

        Raises:
            UserError: A class, or the test part, has too few images, or the data is not that of the split.
        """
        every = reduce(Examples.joined, parts.values())
        given = np.repeat(np.array(list(parts), dtype=object), [len(part) for part in parts.values()])
        files = every.images if isinstance(every.images, list) else None
        if files is None:
            names = [f"{part}/{i}" for part, own in parts.items() for i in range(len(own))]
        else:
            assert root
            names = relative_names(files, root)
        own_groups = [groups.get(file, "") for file in files] if files and groups else [""] * len(every)
        found = Found(
            source,
            classes,
            names,
            given,
            every.labels,
            label_names(every.labels, classes),
            own_groups,
            files,
            has_unlabelled_test=has_unlabelled_test,
        )
        try:
            division = by.divide(found)
        except TooFew as error:
            raise UserError(too_few(error, found)) from error
        train, val, test, new = (every.subset(division.members(part)) for part in ("train", "val", "test", "new"))
        its_notes = [*(notes or []), *division.notes]
        return cls(name, classes, train, val, test, its_notes, skipped or {}, new, found, division)

    @property
    def parts(self) -> dict[str, Examples]:
        """The parts by name, and "new"."""
        return {"train": self.train, "val": self.val, "test": self.test, "new": self.new}

    @property
    def is_multilabel(self) -> bool:
        """Whether an image may show several of the classes."""
        return is_multilabel(self.train.labels)

    @property
    def units(self) -> list[str]:
        """Of the images to train on, then of those to validate on: what must stay whole, the group or the image."""
        if not (self.found and self.division):
            return [str(i) for i in range(len(self.train) + len(self.val))]
        members = np.concatenate([self.division.members("train"), self.division.members("val")])
        groups = self.division.groups
        return [f"group {groups[i]}" if groups[i] else f"image {i}" for i in members]

    def split(self) -> Split:
        """The parts as they are kept; takes a look into every file."""
        assert self.found and self.division
        return Split.of(self.found, self.division)


def too_few(error: TooFew, found: Found) -> str:
    """What a user is to know of a class that cannot be in every part."""
    name = f"class {found.classes[error.label]!r} of {found.source}"
    mend = "add images or take the class out"
    if error.part == "fold":
        what = "images" if error.units == error.images else "groups"
        return f"There are {error.needed} folds, but the {name} has only {error.units} {what}: take fewer folds."
    if error.units == error.images:
        return f"The {name} has too few images ({error.images}): it takes {error.needed}, one for each part; {mend}."
    if error.units == 1:
        return f"All {error.images} images of the {name} are in one group, but every part needs some: {mend}."
    return f"The {error.images} images of the {name} are in too few groups ({error.units}) for all parts: {mend}."
