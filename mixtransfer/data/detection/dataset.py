"""A detection dataset in memory: image files with their boxes, classes, splits."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from mixtransfer.data.division import Division, Found
from mixtransfer.data.images import load_image
from mixtransfer.data.split_file import Split
from mixtransfer.errors import UserError

SMALL, LARGE = 32**2, 96**2  # pixels; COCO's bounds between small, medium and large


@dataclass(frozen=True)
class Record:
    """One image and its n annotations, in pixels of the image as it is displayed (EXIF orientation applied).

    Attributes:
        file: The image.
        image_id: As its source has it; another one where an image before it in its part has that already.
        width, height: Size in pixels.
        boxes: Corners x1, y1, x2, y2 inside the image, float32, shape (n, 4).
        labels: Position in the dataset's classes, int64, shape (n,).
        crowd: Whether to ignore the annotation: it is no training target, and evaluation counts detections on it
            neither as right nor as wrong (pycocotools' iscrowd). Shape (n,).
        area: Of the object, by which evaluation tells small from large; float64, shape (n,).
        ids: Annotation ids as the source has them, int64, shape (n,).
    """

    file: Path
    image_id: int
    width: int
    height: int
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    area: np.ndarray
    ids: np.ndarray

    def image(self, min_side: int | None = None) -> Image.Image:
        """The image, RGB; for ``min_side``, which may make it smaller than ``width`` by ``height``, see ``load_image``.

        Raises:
            UserError: The file cannot be used (any more).
        """
        try:
            return load_image(self.file, min_side)
        except ValueError as error:
            raise UserError(f"{self.file} {error}: mend or remove it, then go on with --resume.") from error

    @property
    def targets(self) -> tuple[np.ndarray, np.ndarray]:
        """Boxes and labels to train on: those that are no crowd."""
        return self.boxes[~self.crowd], self.labels[~self.crowd]

    def of(self, labels: Sequence[int]) -> "Record":
        """The same image with the annotations of some classes only."""
        kept = np.isin(self.labels, labels)
        chosen = {name: getattr(self, name)[kept] for name in ("boxes", "labels", "crowd", "area", "ids")}
        return replace(self, **chosen)


@dataclass(frozen=True)
class DetectionDataset:
    """A dataset with its three parts. Model selection looks at ``val``; ``test`` is touched once, at the end.

    Attributes:
        name: Short name, for titles and folder names.
        classes: Class names, in label order.
        category_ids: The source's category id of each class; what COCO-format JSON is written with.
        notes: What was decided about splits and boxes, in sentences for the user.
        skipped: Unusable image files with the reason.
        new: Images that came after the split of a run was drawn, and are in none of its parts.
        found, division: All images and where they went, for ``split``.
        reading: How the data was read: layout, parts, classes, counts and what was left out, in a line.
    """

    name: str
    classes: list[str]
    category_ids: list[int]
    train: list[Record]
    val: list[Record]
    test: list[Record]
    notes: list[str] = field(default_factory=list)
    skipped: dict[Path, str] = field(default_factory=dict)
    new: list[Record] = field(default_factory=list)
    found: Found | None = field(default=None, repr=False)
    division: Division | None = field(default=None, repr=False)
    reading: str = ""

    @property
    def parts(self) -> dict[str, list[Record]]:
        """The parts by name, and "new"."""
        return {"train": self.train, "val": self.val, "test": self.test, "new": self.new}

    def split(self) -> Split:
        """The parts as they are kept; takes a look into every file."""
        assert self.found and self.division
        return Split.of(self.found, self.division)


def statistics(records: list[Record], classes: list[str]) -> dict:
    """Counts for a report; crowd boxes count only under ``crowd``.

    Returns:
        ``images``, ``images_without_boxes``, ``boxes``, ``crowd``, ``boxes_per_class`` (class name → number) and
        ``sizes`` (small, medium, large → number, by the areas of COCO: below 32², below 96², the rest).
    """
    labels = np.concatenate([record.labels[~record.crowd] for record in records] or [np.empty(0, np.int64)])
    areas = np.concatenate([record.area[~record.crowd] for record in records] or [np.empty(0)])
    counts = np.bincount(labels, minlength=len(classes)).tolist()
    small, large = int((areas < SMALL).sum()), int((areas >= LARGE).sum())
    return {
        "images": len(records),
        "images_without_boxes": sum(bool(record.crowd.all()) for record in records),
        "boxes": len(labels),
        "crowd": sum(int(record.crowd.sum()) for record in records),
        "boxes_per_class": dict(zip(classes, counts, strict=True)),
        "sizes": {"small": small, "medium": len(areas) - small - large, "large": large},
    }
