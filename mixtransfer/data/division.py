"""Images as they are listed, and which of them are in which part."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Found:
    """The n usable images of all parts of a data set, before it is settled which part each one is in.

    Attributes:
        source: The folder, file or name that lists them, for errors.
        classes: Class names, in label order.
        names: Path of each relative to the data, in POSIX form, or its position, such as ``train/17``.
        given: The part that the data says: "train", "val", "test", or "all" where it is not split; shape (n,).
        labels: Of classification see ``mixtransfer.data.labels``. Of detection 0, or -1 for an image without a box,
            shape (n,).
        label_names: Of classification what each one shows, in words; of detection "".
        groups: The group of each, "" for none.
        files: Of each; None of images that have none.
        most_validation: Images to validate on, at most.
        has_unlabelled_test: Whether the data has a test part whose answers nobody knows, so that "val" is no test part.
    """

    source: Path | str
    classes: list[str]
    names: list[str]
    given: np.ndarray
    labels: np.ndarray
    label_names: list[str]
    groups: list[str]
    files: Sequence[Path] | None = None
    most_validation: int | None = None
    has_unlabelled_test: bool = False


@dataclass(frozen=True)
class Division:
    """Which part each of n images is in.

    Attributes:
        parts: "train", "val", "test", or "new" for an image that no part has; shape (n,).
        order: The images of a part come by this number, shape (n,).
        groups: The group of each, "" for none.
        notes: What was decided, in sentences for the user.
    """

    parts: np.ndarray
    order: np.ndarray
    groups: list[str]
    notes: list[str]

    def members(self, part: str) -> np.ndarray:
        """Positions of the images of a part."""
        own = np.flatnonzero(self.parts == part)
        return own[np.argsort(self.order[own], kind="stable")]


def counted(count: int, one: str = "image", many: str | None = None) -> str:
    """ "1 image", "2,000 images"; ``many`` where it is not ``one`` with an s."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
