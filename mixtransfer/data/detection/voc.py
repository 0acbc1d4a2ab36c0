"""Pascal VOC: an XML file for each image, in the kit's folders or in any others."""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from mixtransfer.data.detection.boxes import ListedBoxes, object_to, refuse_shares
from mixtransfer.data.detection.listed import ListedDetection
from mixtransfer.data.detection.voc_layout import pair, split
from mixtransfer.data.division import counted
from mixtransfer.data.lookup import shown, some
from mixtransfer.data.tree import Tree
from mixtransfer.errors import UserError

SIDES = ("xmin", "ymin", "xmax", "ymax")


def voc_files(tree: Tree) -> list[str]:
    """The annotation files of a folder, if the first ones are VOC's."""
    names = tree.having(".xml")
    return names if any(_is_voc(tree.root / name) for name in names[:20]) else []


def list_voc(tree: Tree, faults: list[str] | None = None) -> ListedDetection:
    """List a dataset of Pascal VOC's annotations.

    Images and annotations belong together by their names, wherever they lie: ``JPEGImages/`` and ``Annotations/``,
    ``images/`` and ``annotations/``, or beside one another. The parts are those of ``ImageSets/Main`` (``train``,
    ``val``, ``test``; or ``trainval``, from which validation then comes), or the folders that are called so; without
    any, all images are one part. Classes are the names that occur, sorted. Coordinates are 1-based pixels, both ends
    included (VOC2007 development kit, section 5), so that xmin=1, xmax=width covers the whole width: 1 is taken off
    xmin and ymin. Objects marked ``difficult`` are ignored as crowd is, which is what the kit's evaluation does; they
    are no training targets. Of a rotated box that around it is taken.

    Args:
        tree: The dataset's folder.
        faults: Takes a sentence for each object and file that cannot be used, which is then left out; without it the
            first one raises.

    Raises:
        UserError: An annotation is missing or is not VOC's; the message names the file.
    """
    names = tree.having(".xml")
    parts = split(tree, names)
    listed = dict.fromkeys(name for members in parts.values() for name in members)
    read, others = {}, []
    for name in listed:
        try:
            if (annotation := _read(tree.root / name, faults)) is not None:
                read[name] = annotation
        except _OtherXML:
            others.append(name)
    if not read:
        why = f": {faults[0]}" if faults else f": its lists name none of {len(names)} XML files" if not listed else ""
        raise UserError(f"{tree.root} has no Pascal VOC annotation (XML) that can be used{why.rstrip('.')}.")
    images, notes = pair(tree, {name: annotation.filename for name, annotation in read.items()})
    classes = sorted({thing.name for annotation in read.values() for thing in annotation.objects})
    if not classes:
        raise UserError(f"{tree.root} has no box: not one of its annotations has an object.")
    _check_units(tree, read, faults)
    numbers = {name: i for i, name in enumerate(sorted(read), 1)}
    label = {name: i for i, name in enumerate(classes)}
    boxes = {part: _listed([name for name in members if name in read], read, images, numbers, label)
              for part, members in parts.items()}  # fmt: skip
    rotated = [f"{name}, object {i}" for name, annotation in read.items() for i in annotation.rotated]
    if rotated:
        notes.append(f"Rotated boxes, of which the upright box around each is taken: {len(rotated)} ({some(rotated)}).")
    left_out = []
    if others:
        left_out.append(f"{len(others)} XML files that are no annotations ({some(others, 1)})")
    if spare := [name for name in names if name not in listed]:
        left_out.append(f"{counted(len(spare), 'annotation')} that no list names ({some(spare, 1)})")
    return ListedDetection(
        tree.root.name, tree.root, classes, list(range(1, len(classes) + 1)), boxes, notes=notes, left_out=left_out
    )


def _listed(names: Sequence[str], read: dict, images: dict, numbers: dict, label: dict) -> ListedBoxes:
    things = [(i, thing) for i, name in enumerate(names) for thing in read[name].objects]
    return ListedBoxes.of(
        [images[name] for name in names],
        [(i, label[thing.name], thing.corners) for i, thing in things],
        image_ids=[numbers[name] for name in names],
        sizes=[read[name].size for name in names],
        crowd=[thing.difficult for _, thing in things],
    )


@dataclass(frozen=True)
class Thing:
    """One object: name, box as corners (0-based), and whether it is marked difficult."""

    name: str
    difficult: bool
    corners: tuple[float, float, float, float]


@dataclass(frozen=True)
class Annotation:
    """One file: what its image is called, its size in pixels if that is known, its objects, and the positions (from 1)
    of those whose box is rotated."""

    filename: str
    size: tuple[int, int] | None
    objects: list[Thing]
    rotated: list[int]


class _OtherXML(Exception):
    """XML of another kind."""


class _PlainTree(ElementTree.TreeBuilder):
    """Refuses a document type: annotations need none, and its entities can make a small file huge."""

    def doctype(self, *_: str | None) -> None:
        raise ValueError("it declares a document type")


def _is_voc(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(2000)
    except OSError:
        return False
    return b"<annotation>" in start.replace(b"\0", b"") or b"<annotation " in start


def _read(path: Path, faults: list[str] | None) -> Annotation | None:
    """One annotation file; None if it cannot be used, and there is a list to say so in."""
    try:
        tree = ElementTree.parse(path, ElementTree.XMLParser(target=_PlainTree())).getroot()
        if tree.tag != "annotation":
            raise _OtherXML
        width, height = (int(float(tree.findtext(f"size/{side}") or 0)) for side in ("width", "height"))
    except FileNotFoundError:
        object_to(f"{path} is missing, but its image is listed: add it, or take the image out.", faults)
        return None
    except (OSError, ElementTree.ParseError, TypeError, ValueError, OverflowError, LookupError) as error:
        object_to(f"{path} is not a Pascal VOC annotation ({shown(str(error))}).", faults)
        return None
    objects, rotated = [], []
    for i, entry in enumerate(tree.iter("object"), 1):
        name = unicodedata.normalize("NFC", entry.findtext("name", "").strip())
        try:
            if not name:
                raise ValueError("has no name")
            corners, is_rotated = _corners(entry)
        except ValueError as error:
            object_to(f"{path}: object {i}{name and f' ({shown(name)})'} {error}.", faults)
            continue
        rotated += [i] * is_rotated
        difficult = entry.findtext("difficult", "0").strip().lower() in ("1", "true")
        objects.append(Thing(name, difficult, corners))
    size = (width, height) if width > 0 and height > 0 else None
    return Annotation(tree.findtext("filename", "").strip(), size, objects, rotated)


def _corners(entry: ElementTree.Element) -> tuple[tuple[float, float, float, float], bool]:
    """The box, 0-based, and whether it is that around a rotated one.

    Raises:
        ValueError: There is none; the message is a reason.
    """
    if entry.find("bndbox") is not None:
        try:
            x1, y1, x2, y2 = (float(entry.findtext(f"bndbox/{corner}", "")) for corner in SIDES)
        except ValueError:
            raise ValueError(f"has no bndbox of {', '.join(SIDES)}") from None
        return (x1 - 1, y1 - 1, x2, y2), False
    if entry.find("robndbox") is not None:  # roLabelImg: centre, size, angle in radians
        try:
            x, y, width, height, angle = (
                float(entry.findtext(f"robndbox/{key}", "")) for key in ("cx", "cy", "w", "h", "angle")
            )
            cosine, sine = abs(math.cos(angle)), abs(math.sin(angle))
        except ValueError:
            raise ValueError("has no robndbox of cx, cy, w, h and angle") from None
        half = (width * cosine + height * sine) / 2, (width * sine + height * cosine) / 2
        return (x - half[0], y - half[1], x + half[0], y + half[1]), True
    raise ValueError("has no upright box (bndbox)")


def _check_units(tree: Tree, read: dict[str, Annotation], faults: list[str] | None) -> None:
    corners = np.array([thing.corners for one in read.values() for thing in one.objects]).reshape(-1, 4)
    refuse_shares(corners, tree.root, faults)
