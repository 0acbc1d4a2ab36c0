"""Images and boxes as a source lists them, checked against the image files on the way to a dataset."""

import itertools
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from mixtransfer.common.batches import map_in_threads
from mixtransfer.data.detection.boxes import ListedBoxes, inside_images, size_fault, turned_note, wrong_sizes
from mixtransfer.data.detection.dataset import DetectionDataset, Record
from mixtransfer.data.division import Found, counted
from mixtransfer.data.draw import Draw
from mixtransfer.data.images import find_unusable, upright_size
from mixtransfer.data.lookup import shown, some
from mixtransfer.data.names import relative_name, relative_names
from mixtransfer.data.once import each_once
from mixtransfer.data.split_file import Split
from mixtransfer.data.splits import TooFew
from mixtransfer.errors import UserError

AT_ONCE = 500  # files that a thread opens before it takes more
MOST_VALIDATION = 2000  # images; more make the choice of the best weights no better, only slower


@dataclass(frozen=True)
class ListedDetection:
    """A source's classes and its parts: "all", or "train" with "val" and "test" as far as present.

    Attributes:
        name: Short name, for titles and folder names.
        source: The folder or file that lists them, for errors.
        classes, category_ids: See ``DetectionDataset``.
        parts: Name of the part → what it lists.
        layout: What it was read as, in words.
        notes: What was renamed, counted or taken for something, in sentences.
        left_out: What was not read, in words: "2 images without annotations (x.jpg …)".
    """

    name: str
    source: Path
    classes: list[str]
    category_ids: list[int]
    parts: dict[str, ListedBoxes]
    layout: str = ""
    notes: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def reading(self) -> str:
        """How the data was read: a line."""
        root = self.source if self.source.is_dir() else self.source.parent
        parts = []
        for name, part in self.parts.items():
            folder = _common_folder(part.files, root)
            place = f" ({shown(folder)}/)" if folder else ""
            parts.append(f"{'' if name == 'all' else name + ' '}{counted(len(part.files), 'image')}{place}")
        boxes = sum(len(part.boxes) for part in self.parts.values())
        classes = f"{counted(len(self.classes), 'class', 'classes')} ({some(self.classes, 5)})"
        line = f"Read as {self.layout}: {', '.join(parts)}; {counted(boxes, 'box', 'boxes')} of {classes}."
        return line + (f" Left out: {'; '.join(self.left_out)}." if self.left_out else "")

    @property
    def root(self) -> Path:
        """The folder that paths are relative to: the one that holds ``annotations/``, or the file."""
        if self.source.is_dir():
            return self.source
        folder = self.source.absolute().parent
        return folder.parent if folder.name == "annotations" else folder

    def dataset(self, by: Draw | Split | None = None, only: str | None = None) -> DetectionDataset:
        """Open every image once, leave out what cannot be used, and settle which part each image is in.

        A part named val without one named test is the test part, since it is not there to choose by.

        Args:
            by: How to draw the parts that are missing, or the split of a run.
            only: The part of such a split that will be looked at: images of its other parts are not decoded.

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
        others: set[str] = set()
        if isinstance(by, Split) and only:
            others = {name for name, part in zip(by.names, by.parts, strict=True) if part != only}
        parts = {name: self._records(name, skipped, notes, others) for name in self.parts}
        kept, told = each_once({name: [record.file for record in own] for name, own in parts.items()}, self.source)
        parts = {name: [parts[name][i] for i in places] for name, places in kept.items()}
        notes += told
        found = self._found(parts)
        try:
            division = (by or Draw()).divide(found)
        except TooFew as error:
            raise UserError(_too_few(error, self.source)) from error
        every = [record for records in parts.values() for record in records]
        train, val, test, new = (
            _with_own_ids([every[i] for i in division.members(part)]) for part in ("train", "val", "test", "new")
        )
        notes += division.notes
        used = {int(label) for record in train for label in record.targets[1]}
        if unused := [name for label, name in enumerate(self.classes) if label not in used]:
            notes.append(f"Classes without a box to train on: {len(unused)} of {len(self.classes)} ({some(unused)}).")
        return DetectionDataset(
            self.name,
            self.classes,
            self.category_ids,
            train,
            val,
            test,
            notes,
            skipped,
            new,
            found,
            division,
            self.reading,
        )

    def _found(self, parts: dict[str, list[Record]]) -> Found:
        files = [record.file for records in parts.values() for record in records]
        return Found(
            self.source,
            self.classes,
            names=relative_names(files, self.root),
            given=np.repeat(np.array(list(parts), dtype=object), [len(records) for records in parts.values()]),
            labels=np.array([-int(record.crowd.all()) for records in parts.values() for record in records]),
            label_names=[""] * len(files),
            groups=[""] * len(files),
            files=files,
            most_validation=MOST_VALIDATION,
        )

    def _records(self, name: str, skipped: dict[Path, str], notes: list[str], unseen: set[str]) -> list[Record]:
        part, where = self.parts[name], "" if name == "all" else f" in its {name} part"
        if not part.files:
            raise UserError(f"{self.source} lists no images{where}.")
        looked = [file for file in part.files if relative_name(file, self.root) not in unseen]
        # A PNG's orientation may stand behind its pixels.
        upright = dict(zip(part.files, map_in_threads(_upright_size, part.files, AT_ONCE), strict=True))
        unusable = find_unusable([*looked, *(file for file, size in upright.items() if size is None)])
        skipped.update(unusable)
        usable = [i for i, file in enumerate(part.files) if file not in unusable]
        if not usable:
            file, reason = next(iter(unusable.items()))
            raise UserError(f"{self.source} has no usable image{where}: {file} {reason}.")
        sizes = np.array([upright[file] or (0, 0) for file in part.files], dtype=np.float64)
        part = part.only(np.isin(part.image, usable))
        other, turned = wrong_sizes(part, sizes)
        for i in other[:1]:
            raise UserError(size_fault(part.files[i], sizes[i], part.sizes[i] or (), self.source))
        part, found = inside_images(part, sizes)
        if turned:
            found.insert(0, turned_note(len(turned), part.files[turned[0]], self.source))
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
            because = " ".join(found) or f"not one of its {len(records)} usable images has an object."
            raise UserError(f"{self.source} has no box{where} to go by: {because}")
        return records


def _upright_size(file: Path) -> tuple[int, int] | None:
    """Width and height, or None of a file that has none to read."""
    try:
        return upright_size(file)
    except Exception:  # whatever Pillow makes of a damaged file
        return None


def _with_own_ids(records: list[Record]) -> list[Record]:
    """The same records, each with an image id of its own: those of two files that a part was put together from may be
    the same."""
    taken: set[int] = set()
    free = itertools.count(1 + max((record.image_id for record in records), default=0))
    own = []
    for record in records:
        if record.image_id in taken:
            record = replace(record, image_id=next(free))
        taken.add(record.image_id)
        own.append(record)
    return own


def _common_folder(files: list[Path], root: Path) -> str:
    """The folder below the root that holds all files; "" if they lie in several, or in the root itself."""
    folders = {file.parent for file in files}
    common = Path(os.path.commonpath(folders)) if folders else root
    return common.relative_to(root).as_posix() if common != root and common.is_relative_to(root) else ""


def _too_few(error: TooFew, source: Path) -> str:
    where = f"to set a {error.part} part aside"
    if error.units < error.images:
        return f"The images with boxes of {source} are in too few groups ({error.units}) {where}: make smaller ones."
    return f"{source} has too few images with boxes {where}: add more."
