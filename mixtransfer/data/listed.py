"""Files and labels as a folder or a manifest lists them, on the way to a dataset."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mixtransfer.data.dataset import Examples, ImageDataset
from mixtransfer.data.division import counted
from mixtransfer.data.draw import Draw
from mixtransfer.data.images import find_unusable
from mixtransfer.data.labels import SEPARATOR, class_counts, is_multilabel, label_names
from mixtransfer.data.once import each_once
from mixtransfer.data.split_file import Split
from mixtransfer.errors import UserError

SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


@dataclass(frozen=True)
class ListedImages:
    """What was found, before any file is opened.

    Attributes:
        name: Short name, for titles and folder names.
        source: The folder or file that lists them, for errors.
        classes: Class names, in label order.
        parts: Files and labels under "all", or under "train" with "val" and "test" as far as present; see
            ``mixtransfer.data.labels``; a list of classes will do.
        groups: Of the files that have one.
        notes: What was left out, in sentences for the user.
        has_unlabelled_test: Whether there is a test part whose classes are not known: then val does not stand for it.
    """

    name: str
    source: Path
    classes: list[str]
    parts: dict[str, tuple[list[Path], Any]]
    groups: dict[Path, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    has_unlabelled_test: bool = False

    def __post_init__(self) -> None:
        for part, (files, labels) in self.parts.items():
            if not isinstance(labels, np.ndarray):
                self.parts[part] = files, np.array(labels, dtype=np.int64)

    @property
    def root(self) -> Path:
        """The folder that paths are relative to."""
        return self.source if self.source.is_dir() else self.source.parent

    @property
    def is_split(self) -> bool:
        return "all" not in self.parts

    def usable(self, check: bool = True) -> tuple[dict[str, Examples], dict[Path, str]]:
        """Each part's images that can be used, and the reason of each file that cannot.

        Args:
            check: Decode every file once; otherwise all count as usable.
        """
        skipped = find_unusable([file for files, _ in self.parts.values() for file in files]) if check else {}
        examples = {}
        for part, (files, labels) in self.parts.items():
            kept = [i for i, file in enumerate(files) if file not in skipped]
            examples[part] = Examples([files[i] for i in kept], labels[kept])
        return examples, skipped

    def dataset(self, by: Draw | Split | None = None, check: bool = True) -> ImageDataset:
        """Settle which part each image is in.

        Args:
            by: How to draw the parts that are missing, or the split of a run.
            check: See ``usable``.

        Raises:
            UserError: A class, or the test part, has too few usable images, or the data is not that of the split.
        """
        examples, skipped = self.usable(check)
        if skipped and not any(map(len, examples.values())):
            file, why = next(iter(skipped.items()))
            its = f"; paths are relative to the folder {self.root}" if not self.source.is_dir() else ""
            raise UserError(f"None of the {counted(len(skipped))} of {self.source} can be used ({file} {why}{its}).")
        if not isinstance(by, Split):
            for part in ("val", "test"):
                if part in examples and not len(examples[part]):
                    because = next((f"; {file.name} {why}" for file, why in skipped.items()), "")
                    raise UserError(
                        f"{self.source} has no usable image in its {part} part{because}: mend or remove it."
                    )
        _refuse_two_labels(examples, self.classes, self.source)
        kept, notes = each_once({part: list(own.images) for part, own in examples.items()}, self.source)
        examples = {part: examples[part].subset(places) for part, places in kept.items()}
        if not isinstance(by, Split):
            _require_every_class(examples.get("all") or examples.get("train"), self.classes, self.source, skipped)
        return ImageDataset.divided(
            self.name,
            self.source,
            self.classes,
            examples,
            by or Draw(),
            self.root,
            self.groups,
            [*self.notes, *notes],
            skipped,
            self.has_unlabelled_test,
        )


def _refuse_two_labels(examples: Mapping[str, Examples], classes: list[str], source: Path) -> None:
    known: dict[Path, str] = {}
    for own in examples.values():
        for file, label in zip(own.images, label_names(own.labels, classes), strict=True):
            if (other := known.setdefault(file, label)) != label:
                mend = "take one out"
                if is_multilabel(own.labels):
                    every = SEPARATOR.join(sorted({*other.split(SEPARATOR), *label.split(SEPARATOR)} - {""}))
                    mend = f"write one row an image, here with {every}"
                raise UserError(
                    f"{source} lists {file.name} twice, as {other!r} and as {label!r}: {mend} (mixtransfer doctor "
                    "names all such images)."
                )


def _require_every_class(examples: Examples | None, classes: list[str], source: Path, skipped: dict[Path, str]) -> None:
    counts = class_counts(examples.labels, len(classes)) if examples else np.zeros(len(classes))
    several = bool(examples and is_multilabel(examples.labels))
    if len(classes) < 2 and not several:
        raise UserError(f"{source} has a single class, {classes[0]!r}: there is nothing to tell apart.")
    for name, count in zip(classes, counts, strict=True):
        if several and examples and count == len(examples):
            raise UserError(
                f"Every usable image of {source} to train on has the label {name!r}, so nothing can be learnt of it: "
                "add images without it, or take the label out."
            )
        if count == 0:
            because = next((f"; {file.name} {why}" for file, why in skipped.items()), "")
            raise UserError(
                f"Class {name!r} of {source} has no usable image{because}: add images or take the class out."
            )
