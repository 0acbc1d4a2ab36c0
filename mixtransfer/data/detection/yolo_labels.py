"""YOLO's label files: a text file for each image, a line for each object."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mixtransfer.data.detection.boxes import MEANT_AS_CORNERS, ListedBoxes, are_corners, object_to
from mixtransfer.data.division import counted
from mixtransfer.data.lookup import is_file, shown
from mixtransfer.data.text import read_lines, read_text
from mixtransfer.errors import UserError

IMAGE_FOLDERS = {"images": "labels", "Images": "Labels", "IMAGES": "LABELS", "JPEGImages": "labels", "image": "label"}
SLACK = 0.05  # how far outlines may reach out of their image


@dataclass
class Labels:
    """Reads the label files of a dataset's images, and remembers what there was to tell.

    The boxes of ``images/…/x.jpg`` are in ``labels/…/x.txt``, or in ``x.txt`` beside it. A line is a class, then centre
    x, centre y, width, height, or the corners of a polygon, whose bounds are then the box; all in shares of width and
    height. An image without such a file has no objects.

    Attributes:
        root: The folder that no label file lies out of.
        labels_of: The label that each class number of a label file stands for.
        faults: Takes a sentence for each line that cannot be used, which is then left out; without it the first raises.
        key_points: Of pose data how many key points stand after each box, and how many numbers each has.
        used: The label files that were read.
        missing: Images without one.
        beside: Images with a text file beside them that was not read, because there is one in ``labels/``.
    """

    root: Path
    labels_of: Callable[[Path], Sequence[int]]
    faults: list[str] | None = None
    key_points: tuple[int, int] | None = None
    used: set[Path] = field(default_factory=set)
    missing: list[Path] = field(default_factory=list)
    beside: list[Path] = field(default_factory=list)

    def read(self, files: Sequence[Path]) -> ListedBoxes:
        """The boxes of images.

        Raises:
            UserError: A label file is malformed, or belongs to two images; the message names file and line.
        """
        owners: dict[Path, Path] = {}
        doubts = _Doubts()
        found: list[tuple[int, int, list[float]]] = []
        for i, file in enumerate(files):
            label_file = self.label_file(file)
            if label_file is None:
                self.missing.append(file)
                continue
            if (other := owners.setdefault(label_file, file)) != file:
                raise UserError(f"{other} and {file.name} both have the label file {label_file}: rename one.")
            self.used.add(label_file)
            labels = self.labels_of(label_file)
            found += [(i, labels[number], box) for number, box in self._rows(label_file, len(labels), doubts)]
        doubts.settle(self.faults)
        return ListedBoxes.of(files, found, relative=True)

    def _rows(self, path: Path, classes: int, doubts: "_Doubts") -> Iterator[tuple[int, list[float]]]:
        """Class and corners of each line that can be used."""
        try:
            lines = read_text(path).splitlines()
        except (OSError, ValueError) as error:
            object_to(f"{path} cannot be read as text ({error}).", self.faults)
            return
        for number, line in enumerate(lines, 1):
            words = line.split()
            if not words:
                continue
            where = f"{path}, line {number}"
            try:
                label, values = _numbers(words)
                box = _box(values, self.key_points)
            except ValueError as error:
                object_to(f"{where}: {line.strip()[:60]!r} {error}.", self.faults)
                continue
            if not 0 <= label < classes:
                object_to(f"{where} has class {label}, which is not among the {classes} names.", self.faults)
                continue
            if len(values) == 4:
                doubts.of_box(values, where)
            elif self.key_points is None:
                doubts.of_outline(values, where)
            yield label, box

    def label_file(self, image: Path) -> Path | None:
        """The image's label file, or None."""
        parts = list(image.relative_to(self.root).parts)
        places = [i for i, folder in enumerate(parts[:-1]) if folder in IMAGE_FOLDERS]
        beside = image.with_suffix(".txt")
        if places:
            parts[places[-1]] = IMAGE_FOLDERS[parts[places[-1]]]
            apart = self.root.joinpath(*parts).with_suffix(".txt")
            if is_file(apart):
                if is_file(beside):
                    self.beside.append(beside)
                return apart
        return beside if is_file(beside) else None

    def notes(self) -> list[str]:
        """What there is to tell, in sentences."""
        told = []
        if self.missing:
            told.append(
                f"Images without a label file, which count as showing no object: {len(self.missing)} of "
                f"{len(self.missing) + len(self.used)} ({self._short(self.missing[0])} for one)."
            )
        if self.beside:
            told.append(
                f"Text files beside images that have one in labels/ too, which holds: {len(self.beside)} "
                f"({self._short(self.beside[0])} for one)."
            )
        return told

    def unused(self, files: Sequence[Path]) -> str | None:
        """Those text files, in words, that are label files without an image."""
        folders = {file.parent for file in self.used}
        known = {*self.used, *self.beside}
        lone = [file for file in files if file.parent in folders and file not in known and has_rows(file)]
        return f"{counted(len(lone), 'label file')} without an image ({self._short(lone[0])} for one)" if lone else None

    def _short(self, file: Path) -> str:
        return shown(file.relative_to(self.root).as_posix())


def _numbers(words: list[str]) -> tuple[int, list[float]]:
    try:
        label, *values = map(float, words)
        if label != int(label) or len(values) < 4:
            raise ValueError
    except (ValueError, OverflowError):
        raise ValueError("is not a class and four numbers, or a polygon") from None
    return int(label), values


def _box(values: list[float], key_points: tuple[int, int] | None) -> list[float]:
    """The corners of the box.

    Raises:
        ValueError: The numbers are neither a box nor an outline, nor box and key points; the message is a reason.
    """
    count = len(values)
    if count == 4 or (key_points and count == 4 + key_points[0] * key_points[1]):
        x, y, width, height = values[:4]
        return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    if key_points:
        raise ValueError(f"has {count} numbers after the class, but kpt_shape {list(key_points)} asks for "
                         f"{4 + key_points[0] * key_points[1]}")  # fmt: skip
    corners = np.array(values)
    if count < 6 or count % 2 or not ((corners >= -SLACK) & (corners <= 1 + SLACK)).all():
        raise ValueError(
            "is not a class and four numbers, or a polygon: take out what stands after the box (a confidence, an id), "
            "or say kpt_shape in data.yaml, if it is key points"
        )
    corners = corners.reshape(-1, 2)
    return [*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist()]


@dataclass
class _Doubts:
    """What each line alone might be, but all together are not: how many lines there are of each kind, and one's place.

    Attributes:
        boxes: Centre, width and height of each line that is a box.
        kinds: Kind → number of lines.
        places: Kind → a line.
    """

    boxes: list[list[float]] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    places: dict[str, str] = field(default_factory=dict)

    def of_box(self, values: list[float], where: str) -> None:
        self._count("box", where)
        self.boxes.append(values)
        if any(2 < value < float("inf") for value in values):
            self._count("pixels", where)

    def of_outline(self, values: list[float], where: str) -> None:
        self._count("outline", where)
        if len(values) == 6:
            self._count("triangle", where)
        elif _has_key_points(values):
            self._count("key points", where)

    def _count(self, kind: str, where: str) -> None:
        self.kinds[kind] += 1
        self.places.setdefault(kind, where)

    def settle(self, faults: list[str] | None) -> None:
        """Refuse what most lines speak for. For ``faults`` see ``Labels``.

        Raises:
            UserError: There is no list of faults.
        """
        outlines, triangles = self.kinds["outline"], self.kinds["triangle"]
        if self.kinds["pixels"] > self.kinds["box"] / 2:
            object_to(
                f"{self.places['pixels']} is in pixels, as most are, and so lies outside of its image: YOLO has shares "
                "of width and height (0 to 1), divide by those.",
                faults,
            )
        elif are_corners(np.array(self.boxes).reshape(-1, 4), np.ones(2), centred=True):
            object_to(f"{self.places['box']}: {MEANT_AS_CORNERS} centre x, centre y, width, height.", faults)
        if outlines and triangles == outlines:
            object_to(
                f"{self.places['triangle']} has seven numbers, which are no polygon: take out what stands after the "
                "box (a confidence, an id).",
                faults,
            )
        if self.kinds["key points"] > outlines / 2:
            object_to(
                f"{self.places['key points']} is a box and key points rather than a polygon: say how many by "
                "kpt_shape: [number, 2 or 3] in data.yaml.",
                faults,
            )


def _has_key_points(values: list[float]) -> bool:
    """Whether numbers after a box's are likelier key points than the rest of a polygon: every third is a flag of
    visibility, or the second point is a size, far from all the others."""
    if len(values) >= 10 and (len(values) - 4) % 3 == 0 and all(value in (0, 1, 2) for value in values[6::3]):
        return True
    if len(values) < 10:
        return False
    rest = np.array(values[4:]).reshape(-1, 2)
    low, high = rest.min(axis=0), rest.max(axis=0)
    slack = np.maximum(high - low, 1e-6)
    second = np.array(values[2:4])
    return bool(((second < low - slack) | (second > high + slack)).any())


def has_rows(path: Path) -> bool:
    """Whether a text file has labels, by its first line."""
    try:
        line = next((line for line in read_text(path).splitlines() if line.strip()), "")
        return len(_numbers(line.split())[1]) >= 4
    except (OSError, ValueError):
        return False


def read_names(path: Path) -> list[str]:
    """Class names, a line each; the last lines may be empty.

    Raises:
        UserError: It cannot be read, or has an empty line, which would shift the others, or a name twice.
    """
    try:
        lines = read_lines(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as text ({error}).") from error
    while lines and not lines[-1]:
        lines.pop()
    if not lines or not all(lines):
        raise UserError(f"{path} must have the name of a class in each line.")
    names = [unicodedata.normalize("NFC", line) for line in lines]
    if len(set(names)) < len(names):
        raise UserError(f"{path} names the class {max(names, key=names.count)!r} twice: rename or take out one.")
    return names
