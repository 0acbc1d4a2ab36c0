"""An image-classification dataset in memory: names of files or small arrays, labels, classes, splits."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from mixtransfer.data.images import load_image
from mixtransfer.data.splits import split_off
from mixtransfer.errors import UserError


@dataclass(frozen=True)
class Examples:
    """Labelled images of one split.

    Attributes:
        images: Either a list of files, or a uint8 array of shape (n, height, width, 3).
        labels: Class index of each, int64, shape (n,).
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
    """

    name: str
    classes: list[str]
    train: Examples
    val: Examples
    test: Examples
    notes: list[str] = field(default_factory=list)
    skipped: dict[Path, str] = field(default_factory=dict)


def with_validation(
    name: str,
    classes: list[str],
    train: Examples,
    test: Examples,
    val_fraction: float,
    split_seed: int,
    notes: list[str] | None = None,
    skipped: dict[Path, str] | None = None,
) -> ImageDataset:
    """A dataset whose validation part comes out of its training set, class by class."""
    stays, aside = split_off(train.labels, val_fraction, split_seed, classes, "validation")
    return ImageDataset(name, classes, train.subset(stays), train.subset(aside), test, notes or [], skipped or {})
