"""Images and boxes as a source lists them, checked against the image files on the way to a dataset."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from mixtransfer.data.detection.dataset import DetectionDataset, Record
from mixtransfer.data.division import Found
from mixtransfer.data.draw import Draw
from mixtransfer.data.images import find_unusable, upright_size
from mixtransfer.data.names import relative_name
from mixtransfer.data.split_file import Split
from mixtransfer.data.splits import TooFew
from mixtransfer.errors import UserError

MOST_VALIDATION = 2000  # images; more make the choice of the best weights no better, only slower


@dataclass(frozen=True)
class ListedBoxes:
    """What one part of a source lists, before any image is opened: m images, n annotations.

    Attributes:
        files: Image files, m.
        image_ids: m whole numbers, each once.
        sizes: Width and height in pixels as the source has them, or None where it says nothing; m.
        image: Which image each annotation is of, as a position in ``files``; int64, shape (n,).
        boxes: Corners x1, y1, x2, y2, float64, shape (n, 4), as they stand in the source: possibly outside the
            image, empty or not finite.
        labels, crowd, ids: See ``Record``; shape (n,).
        area: NaN where the source has none: then the box's own; float64, shape (n,).
        relative: Whether boxes are in shares of width and height instead of pixels.
    """

    files: list[Path]
    image_ids: list[int]
    sizes: list[tuple[int, int] | None]
    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    ids: np.ndarray
    area: np.ndarray
    relative: bool = False

    def only(self, kept: np.ndarray, **changes) -> "ListedBoxes":
        """The same images with the annotations of the mask ``kept``, shape (n,)."""
        chosen = {key: getattr(self, key)[kept] for key in ("image", "boxes", "labels", "crowd", "ids", "area")}
        return replace(self, **{**chosen, **changes})


@dataclass(frozen=True)
class ListedDetection:
    """A source's classes and its parts: "all", or "train" with "val" and "test" as far as present.

    Attributes:
        name: Short name, for titles and folder names.
        source: The folder or file that lists them, for errors.
        classes, category_ids: See ``DetectionDataset``.
        parts: Name of the part → what it lists.
        notes: What was left out, in sentences for the user.
    """

    name: str
    source: Path
    classes: list[str]
    category_ids: list[int]
    parts: dict[str, ListedBoxes]
    notes: list[str] = field(default_factory=list)

    @property
    def root(self) -> Path:
        """The folder that paths are relative to: the one that holds ``annotations/``, or the file."""
        if self.source.is_dir():
            return self.source
        folder = self.source.absolute().parent
        return folder.parent if folder.name == "annotations" else folder

    def dataset(self, by: Draw | Split | None = None) -> DetectionDataset:
        """Open every image once, leave out what cannot be used, and settle which part each image is in.

        A part named val without one named test is the test part, since it is not there to choose by.

        Args:
            by: How to draw the parts that are missing, or the split of a run.

        Raises:
            UserError: There is no training part, a part has no usable image or no box, the size that the source gives
                an image is not the file's, or the data is not that of the split.
        """
        if not self.parts.keys() & {"all", "train"}:
            raise UserError(
                f"{self.source} has no training part, only {' and '.join(self.parts)}: add one, or give one file."
            )
        skipped: dict[Path, str] = {}
        notes = list(self.notes)
        parts = {name: self._records(name, skipped, notes) for name in self.parts}
        train = parts.get("all") or parts["train"]
        for name in parts.keys() - {"all", "train"}:
            if common := {record.file for record in train} & {record.file for record in parts[name]}:
                notes.append(f"{len(common)} images are in both train and {name}, {min(common).name} for one.")
        found = self._found(parts)
        try:
            division = (by or Draw()).divide(found)
        except TooFew as error:
            raise UserError(_too_few(error, self.source)) from error
        every = [record for records in parts.values() for record in records]
        train, val, test, new = ([every[i] for i in division.members(part)] for part in ("train", "val", "test", "new"))
        notes += division.notes
        used = {int(label) for record in train for label in record.targets[1]}
        if unused := [name for label, name in enumerate(self.classes) if label not in used]:
            notes.append(f"Classes without a box to train on: {len(unused)} of {len(self.classes)} ({_some(unused)}).")
        return DetectionDataset(
            self.name, self.classes, self.category_ids, train, val, test, notes, skipped, new, found, division
        )

    def _found(self, parts: dict[str, list[Record]]) -> Found:
        files = [record.file for records in parts.values() for record in records]
        return Found(
            self.source,
            self.classes,
            names=[relative_name(file, self.root) for file in files],
            given=np.repeat(np.array(list(parts), dtype=object), [len(records) for records in parts.values()]),
            labels=np.array([-int(record.crowd.all()) for records in parts.values() for record in records]),
            label_names=[""] * len(files),
            groups=[""] * len(files),
            files=files,
            most_validation=MOST_VALIDATION,
        )

    def _records(self, name: str, skipped: dict[Path, str], notes: list[str]) -> list[Record]:
        part, where = self.parts[name], "" if name == "all" else f" in its {name} part"
        if not part.files:
            raise UserError(f"{self.source} lists no images{where}.")
        unusable = find_unusable(part.files)
        skipped.update(unusable)
        usable = [i for i, file in enumerate(part.files) if file not in unusable]
        if not usable:
            file, reason = next(iter(unusable.items()))
            raise UserError(f"{self.source} has no usable image{where}: {file} {reason}.")
        sizes = np.ones((len(part.files), 2))
        with ThreadPoolExecutor() as pool:  # a PNG's orientation may stand behind its pixels
            for i, size in zip(usable, pool.map(upright_size, [part.files[i] for i in usable]), strict=True):
                sizes[i] = size
                _check_size(part.files[i], size, part.sizes[i], self.source)
        part, found = _inside(part.only(np.isin(part.image, usable)), sizes)
        notes += [note if name == "all" else f"{name}: {note}" for note in found]
        members = np.split(
            np.argsort(part.image, kind="stable"), np.cumsum(np.bincount(part.image, minlength=len(sizes)))
        )
        records = [
            Record(
                file=part.files[i],
                image_id=part.image_ids[i],
                width=int(sizes[i, 0]),
                height=int(sizes[i, 1]),
                boxes=part.boxes[members[i]].astype(np.float32),
                labels=part.labels[members[i]],
                crowd=part.crowd[members[i]],
                area=part.area[members[i]],
                ids=part.ids[members[i]],
            )
            for i in usable
        ]
        if all(record.crowd.all() for record in records):
            raise UserError(
                f"{self.source} has no box{where}: not one of its {len(records)} usable images has an object."
            )
        return records


def _check_size(file: Path, size: tuple[int, int], listed: tuple[int, int] | None, source: Path) -> None:
    if listed is None or tuple(listed) == size:
        return
    mend = "correct the size, or put the right image there"
    if tuple(listed) == size[::-1]:
        mend = "width and height are swapped; they and the boxes must be those of the image as EXIF turns it"
    raise UserError(f"{file} is {size[0]}×{size[1]} pixels, but {source} says {listed[0]}×{listed[1]}: {mend}.")


@dataclass(frozen=True)
class BoxFaults:
    """What is wrong with n boxes, and what they are inside their images.

    Attributes:
        clipped: Corners in pixels inside the image, float64, shape (n, 4).
        not_finite, no_size, outside, beyond: Masks of shape (n,): coordinates that are no numbers, zero or negative
            width or height, wholly outside the image, and reaching out of it by more than a pixel. At most one holds.
    """

    clipped: np.ndarray
    not_finite: np.ndarray
    no_size: np.ndarray
    outside: np.ndarray
    beyond: np.ndarray

    @property
    def usable(self) -> np.ndarray:
        return ~(self.not_finite | self.no_size | self.outside)


def box_faults(part: ListedBoxes, sizes: np.ndarray) -> BoxFaults:
    """Hold the boxes against their images.

    Args:
        part: The boxes.
        sizes: Width and height of each of its images in pixels, shape (m, 2).
    """
    bounds = np.tile(sizes[part.image], 2)
    boxes = part.boxes * bounds if part.relative else part.boxes
    finite = np.isfinite(boxes).all(axis=1)
    boxes = np.where(finite[:, None], boxes, 0.0)
    sized = finite & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    clipped = np.clip(boxes, 0, bounds)
    # float32 is what records hold: a box that vanishes in it has no area.
    width, height = (np.diff(clipped[:, axis::2].astype(np.float32), axis=1)[:, 0] for axis in (0, 1))
    kept = sized & (width > 0) & (height > 0)
    beyond = kept & (np.abs(clipped - boxes).max(axis=1, initial=0) > 1)  # less is rounding
    return BoxFaults(clipped, ~finite, finite & ~sized, sized & ~kept, beyond)


def _inside(part: ListedBoxes, sizes: np.ndarray) -> tuple[ListedBoxes, list[str]]:
    """Clip the boxes to their images and drop those without area; the second value says what was done."""
    faults = box_faults(part, sizes)
    clipped = faults.clipped
    own_area = (clipped[:, 2] - clipped[:, 0]) * (clipped[:, 3] - clipped[:, 1])
    area = np.where(
        np.isfinite(part.area), np.where(faults.beyond, np.minimum(part.area, own_area), part.area), own_area
    )
    notes = [
        f"Boxes {what}: {mask.sum()} ({_some([f'annotation {i}' for i in part.ids[mask]])})."
        for mask, what in (
            (faults.beyond, "that reach out of their image, clipped"),
            (faults.not_finite, "with coordinates that are not finite numbers, left out"),
            (faults.no_size, "of zero or negative size, left out"),
            (faults.outside, "outside their image, left out"),
        )
        if mask.any()
    ]
    kept = faults.usable
    return part.only(kept, boxes=clipped[kept], area=area[kept], relative=False), notes


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")


def _too_few(error: TooFew, source: Path) -> str:
    where = f"to set a {error.part} part aside"
    if error.units < error.images:
        return f"The images with boxes of {source} are in too few groups ({error.units}) {where}: make smaller ones."
    return f"{source} has too few images with boxes {where}: add more."
