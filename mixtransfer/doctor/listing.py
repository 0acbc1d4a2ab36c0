"""What a dataset lists, for both tasks, before anything is opened."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mixtransfer.data.detection.boxes import ListedBoxes
from mixtransfer.data.detection.load import LAYOUTS, is_detection_data, list_boxes
from mixtransfer.data.division import counted
from mixtransfer.data.groups import settled_groups
from mixtransfer.data.images import load_image
from mixtransfer.data.labels import is_multilabel, label_names
from mixtransfer.data.load import list_images, load_dataset
from mixtransfer.data.named import NAMED_DATASETS, named_folder
from mixtransfer.data.names import data_name, relative_names
from mixtransfer.data.packed import unpacked
from mixtransfer.errors import UserError


@dataclass(frozen=True)
class Listing:
    """The m images of all parts of a dataset.

    Attributes:
        name: Short name, for titles and folder names.
        task: "classify" or "detect".
        source: The folder or file that lists them; None for a dataset by name.
        classes: Class names, in label order.
        images: Files, or uint8 arrays (height, width, 3).
        part: "train", "val", "test", or "all" where the data is not split; shape (m,).
        label: What each image shows, as a number that only images of the same class, or of the same several labels,
            have; int64, shape (m,); -1 for detection.
        labels: The same as training has it; see ``mixtransfer.data.labels``. For detection ``label``.
        boxes: For detection: what each part lists; its images are those of ``images`` of that part, in order.
        faults: Entries that cannot be used at all, a sentence each.
        groups: Of each image, "" for none; empty if there are none.
        reading: How the data was read, in a line.
        notes: What was renamed, left out, counted or taken for something, a sentence each.
    """

    name: str
    task: str
    source: Path | None
    classes: list[str]
    images: Sequence[Path | np.ndarray]
    part: np.ndarray
    labels: np.ndarray
    boxes: dict[str, ListedBoxes] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    reading: str = ""
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def label(self) -> np.ndarray:
        return np.unique(self.labels, axis=0, return_inverse=True)[1].ravel() if self.is_multilabel else self.labels

    @property
    def is_multilabel(self) -> bool:
        """Whether an image may have several labels."""
        return is_multilabel(self.labels)

    def shows(self, i: int) -> str:
        """What an image shows, in words."""
        return label_names(self.labels[i : i + 1], self.classes)[0] or "none"

    @property
    def parts(self) -> list[str]:
        return list(dict.fromkeys(self.part.tolist()))

    def members(self, part: str) -> np.ndarray:
        """Positions of a part's images."""
        return np.flatnonzero(self.part == part)

    def file(self, i: int) -> str:
        """The whole name of an image."""
        image = self.images[i]
        return str(image) if isinstance(image, Path) else f"{self.name}[{i}]"

    def short(self, i: int) -> str:
        """The name of an image below the data's folder."""
        image = self.images[i]
        if not isinstance(image, Path):
            return f"{self.part[i]} image {i - self.members(self.part[i])[0]}"
        if self.source is None:
            return image.name
        root = self.source if self.source.is_dir() else self.source.parent
        return str(image.relative_to(root)) if image.is_relative_to(root) else f"{image.parent.name}/{image.name}"

    def load(self, i: int, min_side: int | None = None) -> Image.Image:
        """The image, RGB, upright; for ``min_side`` see ``load_image``.

        Raises:
            ValueError: It cannot be used; the message is the reason.
        """
        image = self.images[i]
        return load_image(image, min_side) if isinstance(image, Path) else Image.fromarray(image)


def list_data(data: str, task: str, data_root: Path, group_by: str | None = None, layout: str = "auto") -> Listing:
    """List a dataset of either task.

    Args:
        group_by: See ``groups_by``.
        layout: See ``load_dataset`` and ``load_detection_dataset``.

    Raises:
        UserError: It does not exist, or is no dataset, or the groups do not go with it.
    """
    data = unpacked(data, data_root)
    if task == "auto":
        known = layout != "auto"
        detects = layout in LAYOUTS if known else data not in NAMED_DATASETS and is_detection_data(data)
        task = "detect" if detects else "classify"
    if task == "detect":
        return _detection(data, data_root, group_by, layout)
    return _classification(data, data_root, group_by, layout)


def _classification(data: str, data_root: Path, group_by: str | None, layout: Any) -> Listing:
    folder = named_folder(data, data_root)
    if data in NAMED_DATASETS and folder is None:
        dataset = load_dataset(data, data_root)
        whole = {"train": dataset.train.joined(dataset.val), "test": dataset.test}
        name, source, classes = dataset.name, None, dataset.classes  # type: tuple[str, Path | None, list[str]]
        parts: Mapping[str, tuple] = {part: (list(its.images), its.labels) for part, its in whole.items()}
        root, groups, notes = data_root, {}, []  # type: tuple[Path, dict[Path, str], list[str]]
    else:
        listed = list_images(str(folder or data), layout)
        name, source = listed.name or data_name(listed.root), listed.source
        classes, (parts, again) = listed.classes, _each_once(listed.parts)
        root, groups, notes = listed.root, listed.groups, [*listed.notes, *again]
    images = [image for images, _ in parts.values() for image in images]
    return Listing(
        name,
        "classify",
        source,
        classes,
        images,
        part=np.repeat(list(parts), [len(images) for images, _ in parts.values()]),
        labels=np.concatenate([labels for _, labels in parts.values()]),
        groups=_groups(images, root, groups, group_by, data),
        notes=notes,
    )


def _each_once(parts: Mapping[str, tuple]) -> tuple[dict[str, tuple], list[str]]:
    """Parts without what is listed again with the same labels, which training counts once too, and a note of it."""
    kept, again = {}, 0
    for part, (files, labels) in parts.items():
        rows = [(file, np.asarray(label).tobytes()) for file, label in zip(files, labels, strict=True)]
        first = sorted(dict(zip(reversed(rows), range(len(rows) - 1, -1, -1), strict=True)).values())
        kept[part] = [files[i] for i in first], labels[first]
        again += len(rows) - len(first)
    return kept, [f"{counted(again)} listed more than once in a part: each counts once."] if again else []


def _detection(data: str, data_root: Path, group_by: str | None, layout: str) -> Listing:
    faults: list[str] = []
    listed = list_boxes(data, data_root, faults, layout)
    images = [file for part in listed.parts.values() for file in part.files]
    if not images:
        raise UserError(f"{listed.source} lists no images.")
    return Listing(
        listed.name or data_name(listed.root),
        "detect",
        listed.source,
        listed.classes,
        images,
        part=np.repeat(list(listed.parts), [len(part.files) for part in listed.parts.values()]),
        labels=np.full(len(images), -1),
        boxes=listed.parts,
        faults=faults,
        groups=_groups(images, listed.root, {}, group_by, data),
        reading=listed.reading,
        notes=listed.notes,
    )


def _groups(
    images: Sequence[Path | np.ndarray], root: Path, own: Mapping[Path, str], group_by: str | None, data: str
) -> list[str]:
    files = [image for image in images if isinstance(image, Path)]
    return settled_groups([own.get(file, "") for file in files], group_by, relative_names(files, root), data)
