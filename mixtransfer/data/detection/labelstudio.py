"""Label Studio's own exports: JSON, a list of tasks with their results, and JSON-MIN."""

import json
import math
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from mixtransfer.data.detection.boxes import ListedBoxes, object_to
from mixtransfer.data.detection.listed import ListedDetection
from mixtransfer.data.detection.outlines import is_number
from mixtransfer.data.division import counted
from mixtransfer.data.images import IMAGE_SUFFIXES
from mixtransfer.data.lookup import Lookup, missing, shown
from mixtransfer.data.parts import part_of_file
from mixtransfer.data.tree import Tree
from mixtransfer.errors import UserError

SHAPES = ("rectanglelabels", "polygonlabels", "ellipselabels")
Box = tuple[str, tuple[float, float, float, float]]  # a name, and corners in percent


def labelstudio_files(tree: Tree) -> list[str]:
    """The exports in a folder."""
    return [name for name in tree.having(".json") if "/" not in name and is_labelstudio(tree.root / name)]


def is_labelstudio(path: Path) -> bool:
    """Whether a file is an export with boxes, by its beginning and the names that occur in it."""
    try:
        data = path.read_bytes()
    except OSError:
        return False
    begins = data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["
    return begins and any(f'"{word}"'.encode() in data for word in (*SHAPES, "rectangle", "from_name"))


def list_labelstudio(tree: Tree, names: list[str], faults: list[str] | None = None) -> ListedDetection:
    """List exports of Label Studio.

    Boxes, and those around polygons, ellipses and rotated boxes, are in percent of width and height, of the picture as
    it is shown. Tasks that nobody has annotated are left out; an annotation without a box is of an image that shows no
    object. Images are found by the end of their address. Of several annotations of a task the ground truth is taken, or
    the last. Classes are the names that occur, sorted.

    Args:
        tree: The dataset's folder.
        names: One file for each part, or a single one, which may have any name.
        faults: Takes a sentence for each result that cannot be used, which is then left out; without it the first one
            raises.

    Raises:
        UserError: It is no such file, or an entry is wrong; the message names the entry.
    """
    named: dict[str, str] = {}
    for name in names:
        part = (part_of_file(PurePosixPath(name).stem) if len(names) > 1 else None) or "all"
        if part in named or ("all" in named or part == "all") and len(names) > 1:
            raise UserError(
                f"{tree.root} holds several exports, {names[0]} and {names[1]}: give one as DATA, or call them train, "
                "val and test."
            )
        named[part] = name
    exports = {part: _Export(tree.root / name, faults) for part, name in named.items()}
    classes = sorted({name for export in exports.values() for _, boxes in export.tasks for name, _ in boxes})
    if not classes:
        raise UserError(f"{tree.root / names[0]} has no box: not one of its tasks has a rectangle.")
    lookup = Lookup(tree)
    parts = {part: _boxes(export, part, lookup, classes) for part, export in exports.items()}
    notes = [note for export in exports.values() for note in export.notes()] + lookup.notes()
    left_out = [words for export in exports.values() for words in export.left_out()]
    return ListedDetection(
        tree.root.name, tree.root, classes, list(range(1, len(classes) + 1)), parts, notes=notes, left_out=left_out
    )


def _boxes(export: "_Export", part: str, lookup: Lookup, classes: list[str]) -> ListedBoxes:
    files: list[Path] = []
    owners: dict[Path, str] = {}
    found = []
    for address, boxes in export.tasks:
        try:
            path = lookup.find(address, lookup.tree.root, part, elsewhere=True)
        except ValueError as error:
            raise UserError(f"{export.path}: the image {shown(address)} {error}: rename one.") from None
        if path is None:
            path = missing(lookup.tree.root, address)
        if path in owners:
            raise UserError(
                f"{export.path}: two tasks are of {shown(path.name)} ({shown(owners[path])} and {shown(address)}): "
                "take one out."
            )
        owners[path] = address
        found += [(len(files), classes.index(name), [x / 100 for x in corners]) for name, corners in boxes]
        files.append(path)
    return ListedBoxes.of(files, found, relative=True)


@dataclass
class _Export:
    """One file.

    Attributes:
        tasks: Address of the image, and boxes, of each task that is annotated.
        unlabelled, several, other, around: Numbers of tasks that nobody annotated, tasks with several annotations,
            results of another kind, and boxes around another shape.
    """

    path: Path
    faults: list[str] | None
    tasks: list[tuple[str, list[Box]]] = field(default_factory=list)
    unlabelled: int = 0
    several: int = 0
    other: Counter[str] = field(default_factory=Counter)
    around: int = 0

    def __post_init__(self) -> None:
        try:
            contents = json.loads(self.path.read_bytes())
        except OSError as error:
            raise UserError(f"{self.path} cannot be read ({error.strerror}).") from error
        except (ValueError, RecursionError) as error:
            raise UserError(f"{self.path} is not JSON ({error}).") from error
        if not isinstance(contents, list) or not all(isinstance(task, dict) for task in contents):
            raise UserError(f"{self.path} is no export of Label Studio: it is not a list of tasks.")
        for place, task in enumerate(contents, 1):
            self._add(f"{self.path}: task {shown(str(task.get('id', place)))}", task)

    def notes(self) -> list[str]:
        told = []
        if self.around:
            told.append(f"Polygons, ellipses and rotated boxes, of which the box around each is taken: {self.around}.")
        if self.several:
            told.append(
                f"Tasks with several annotations, of which the ground truth or the last is taken: {self.several}."
            )
        return told

    def left_out(self) -> list[str]:
        told = [f"{counted(self.unlabelled, 'task')} that nobody has annotated"] if self.unlabelled else []
        return told + [f"{counted(count, 'result')} of the kind {shown(kind)}" for kind, count in self.other.items()]

    def _add(self, where: str, task: dict) -> None:
        values = task["data"] if isinstance(task.get("data"), dict) else task
        results = self._results(task)
        if results is None:
            self.unlabelled += 1
            return
        addresses = {str(key): value for key, value in values.items() if _is_address(key, value)}
        if not addresses:
            object_to(f"{where} names no image.", self.faults)
            return
        if len(addresses) > 1 and "image" not in addresses:
            object_to(f"{where} names several images, {' and '.join(map(shown, addresses))}.", self.faults)
            return
        boxes: list[Box] = []
        for result in results:
            try:
                boxes += self._box(result)
            except ValueError as error:
                object_to(f"{where} has a result that {error}.", self.faults)
        self.tasks.append((addresses.get("image") or next(iter(addresses.values())), boxes))

    def _results(self, task: dict) -> list[dict] | None:
        """The results that count, each with its ``value`` and ``type``; None if nobody has annotated the task."""
        annotations = task.get("annotations", task.get("completions"))
        if not isinstance(annotations, list):  # JSON-MIN: the values stand in the task itself
            shapes = [
                one for value in task.values() if isinstance(value, list) for one in value if isinstance(one, dict)
            ]
            if not shapes and "annotation_id" not in task:
                return None
            return [{"type": next((word for word in SHAPES if word in one), ""), "value": one} for one in shapes]
        done = [one for one in annotations if isinstance(one, dict) and not one.get("was_cancelled")]
        done = [one for one in done if isinstance(one.get("result"), list)]
        if not done:
            return None
        self.several += len(done) > 1
        order = [(one.get("ground_truth") is True, str(one.get("updated_at") or ""), i) for i, one in enumerate(done)]
        chosen = done[max(order)[-1]]
        return list(_joined([one for one in chosen["result"] if isinstance(one, dict)]))

    def _box(self, result: dict) -> Iterator[Box]:
        kind, value = str(result.get("type")), result.get("value")
        if kind not in (*SHAPES, "rectangle", "polygon", "ellipse") or not isinstance(value, dict):
            self.other[kind] += 1
            return
        names = value.get(kind) or value.get("labels") or []
        if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str) or not names[0].strip():
            raise ValueError(f"has {'no label' if not names else 'not one label'}")
        if "�" in names[0] or any("\ud800" <= letter <= "\udfff" for letter in names[0]):
            raise ValueError("has a label that is no text")
        corners, is_around = _corners(kind, value)
        self.around += is_around
        yield unicodedata.normalize("NFC", names[0].strip()), corners


def _joined(results: list[dict]) -> Iterator[dict]:
    """Results, with the labels that a shape without any has in another result of the same id."""
    labels = {str(one.get("id")): one["value"]["labels"] for one in results if one.get("type") == "labels"
              and isinstance(one.get("value"), dict) and "labels" in one["value"]}  # fmt: skip
    for one in results:
        if one.get("type") in ("rectangle", "polygon", "ellipse") and isinstance(one.get("value"), dict):
            one = {**one, "value": {"labels": labels.get(str(one.get("id"))), **one["value"]}}
        elif one.get("type") in ("labels", "choices", "rating", "textarea", "number"):
            continue
        yield one


def _corners(kind: str, value: dict) -> tuple[tuple[float, float, float, float], bool]:
    """Corners in percent, and whether they are around another shape."""
    if kind.startswith("polygon"):
        points = value.get("points")
        if (
            not isinstance(points, list)
            or len(points) < 3
            or not all(isinstance(p, list) and len(p) == 2 for p in points)
        ):
            raise ValueError("has no points")
        xs, ys = (_numbers({str(i): p[axis] for i, p in enumerate(points)}) for axis in (0, 1))
        return (min(xs), min(ys), max(xs), max(ys)), True
    if kind.startswith("ellipse"):
        x, y, width, height = _numbers(value, "x", "y", "radiusX", "radiusY")
        return (x - width, y - height, x + width, y + height), True
    x, y, width, height = _numbers(value, "x", "y", "width", "height")
    if not value.get("rotation"):
        return (x, y, x + width, y + height), False
    # Turned about its upper left corner, clockwise, in pixels.
    angle, columns, rows = _numbers(value, "rotation", "original_width", "original_height")
    if not (math.isfinite(angle) and 0 < columns < 1e9 and 0 < rows < 1e9):
        raise ValueError("is turned, but by no number, or in no picture")
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    across, down = (width * columns * cosine, width * columns * sine), (-height * rows * sine, height * rows * cosine)
    xs = [x + (a * across[0] + b * down[0]) / columns for a in (0, 1) for b in (0, 1)]
    ys = [y + (a * across[1] + b * down[1]) / rows for a in (0, 1) for b in (0, 1)]
    return (min(xs), min(ys), max(xs), max(ys)), True


def _numbers(value: dict, *keys: str) -> list[float]:
    numbers = [value.get(key) for key in keys or value]
    if not all(map(is_number, numbers)):
        raise ValueError(f"needs the numbers {', '.join(keys)}" if keys else "has points that are no numbers")
    return [float(number) for number in numbers]  # type: ignore[arg-type]


def _is_address(key: str, value: Any) -> bool:
    """Whether a task's value is an image's: a path or URL, the end of which may stand in its query."""
    if not isinstance(value, str) or not value or "\0" in value:
        return False
    return key == "image" or any(
        PurePosixPath(part).suffix.lower() in IMAGE_SUFFIXES for part in value.replace("\\", "/").split("?")
    )
