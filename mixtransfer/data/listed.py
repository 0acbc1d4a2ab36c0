"""Files and labels as a folder or a manifest lists them, on the way to a dataset."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mixtransfer.data.dataset import Examples, ImageDataset, with_validation
from mixtransfer.data.images import find_unusable
from mixtransfer.data.splits import split_off
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
        parts: Files and labels under "all", or under "train" with "val" and "test" as far as present.
    """

    name: str
    source: Path
    classes: list[str]
    parts: dict[str, tuple[list[Path], list[int]]]

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
            examples[part] = Examples([files[i] for i in kept], np.array([labels[i] for i in kept], dtype=np.int64))
        return examples, skipped

    def dataset(self, val_fraction: float, test_fraction: float, split_seed: int, check: bool) -> ImageDataset:
        """Split what is not split already.

        Raises:
            UserError: A class, or the test part, has too few usable images.
        """
        examples, skipped = self.usable(check)
        _require_every_class(examples.get("all") or examples["train"], self.classes, self.source, skipped)
        notes = []
        if not self.is_split:
            stays, aside = split_off(examples["all"].labels, test_fraction, split_seed, self.classes, "test")
            train, test = examples["all"].subset(stays), examples["all"].subset(aside)
            notes.append(
                f"No split was given: {len(test)} of {len(test) + len(train)} images were set aside by class as the "
                f"test set (split seed {split_seed})."
            )
            return with_validation(self.name, self.classes, train, test, val_fraction, split_seed, notes, skipped)
        train, test = examples["train"], examples.get("test") or examples["val"]
        if not len(test):
            part = "test" if "test" in examples else "val"
            raise UserError(f"{self.source} has no usable image in its {part} part.")
        if "test" in examples and len(examples.get("val") or ()):
            return ImageDataset(self.name, self.classes, train, examples["val"], test, notes, skipped)
        if "test" not in examples:
            notes.append("There is no test part: val is used as the test set, and validation comes out of train.")
        return with_validation(self.name, self.classes, train, test, val_fraction, split_seed, notes, skipped)


def _require_every_class(examples: Examples, classes: list[str], source: Path, skipped: dict[Path, str]) -> None:
    counts = np.bincount(examples.labels, minlength=len(classes))
    if len(classes) < 2:
        raise UserError(f"{source} has a single class, {classes[0]!r}: there is nothing to tell apart.")
    for name, count in zip(classes, counts, strict=True):
        if count == 0:
            because = next((f"; {file.name} {why}" for file, why in skipped.items()), "")
            raise UserError(
                f"Class {name!r} of {source} has no usable image{because}: add images or take the class out."
            )
