"""Hugging Face's imagefolder with objects: `metadata.jsonl` or `metadata.csv` beside the images."""

import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mixtransfer.data.detection.boxes import MEANT_AS_CORNERS, ListedBoxes, are_corners, object_to, refuse_shares
from mixtransfer.data.detection.listed import ListedDetection
from mixtransfer.data.detection.outlines import is_box
from mixtransfer.data.lookup import Lookup, missing, shown
from mixtransfer.data.metadata_tables import metadata_files
from mixtransfer.data.parts import by_folder
from mixtransfer.data.table import names_in_card, names_of_numbers, read_table
from mixtransfer.data.tree import Tree
from mixtransfer.errors import UserError

BOXES = ("bbox", "bboxes", "boxes", "box")
CATEGORIES = ("categories", "category", "labels", "label", "category_id", "classes", "class")


def object_files(tree: Tree) -> list[str]:
    """The metadata files of a folder that have a column ``objects``."""
    return [name for name in metadata_files(tree) if _has_objects(tree.root / name)]


def _has_objects(path: Path) -> bool:
    """Whether a metadata file says what objects an image shows; one that cannot be read seems to, if it speaks of
    ``objects``, so that its reader says what is wrong."""
    try:
        return "objects" in read_table(path).columns
    except UserError:
        try:
            return b'"objects"' in path.read_bytes()
        except OSError:
            return False


def list_imagefolder(tree: Tree, names: list[str], faults: list[str] | None = None) -> ListedDetection:
    """List a dataset of images with metadata, as ``datasets.load_dataset("imagefolder")`` has it for detection.

    Each row has ``file_name``, relative to its metadata file, and ``objects``: a mapping with a list ``bbox`` of
    [x, y, width, height] in pixels and a list of categories, or a list of objects with one of each; in CSV as JSON.
    Categories are names, or numbers whose names stand in the ``class_label`` of the dataset's ``README.md``. Parts are
    the folders that are called so.

    Args:
        tree: The dataset's folder.
        names: Its metadata files.
        faults: Takes a sentence for each row that cannot be used, which is then left out; without it the first one
            raises.

    Raises:
        UserError: It is no such file, or a row is wrong; the message names the line.
    """
    lookup = Lookup(tree)
    images: dict[Path, _Row] = {}
    for name in names:
        for row in _rows(tree.root / name, faults):
            try:
                path = lookup.find(row.file_name, (tree.root / name).parent)
            except ValueError as error:
                raise UserError(f"{row.where}: the image {shown(row.file_name)} {error}: rename one.") from None
            path = path or missing((tree.root / name).parent, row.file_name)
            if (other := images.setdefault(path, row)) is not row:
                raise UserError(f"{row.where} is of {shown(row.file_name)}, as {other.where} is: take one out.")
    given = {category for row in images.values() for category in row.categories}
    if not given:
        why = faults[0].rstrip(".") if faults else f"not one row of {names[0]} has an object"
        raise UserError(f"{tree.root} has no box that can be used: {why}.")
    classes, titles, notes = _classes(tree, given)
    try:
        members = by_folder([path.relative_to(tree.root).as_posix() for path in images])
    except ValueError as error:
        raise UserError(f"{tree.root}: {error}: move it.") from None
    parts = {part: _boxes({tree.root / file: images[tree.root / file] for file in files}, titles, classes)
             for part, files in members.items()}  # fmt: skip
    _check_units(tree.root / names[0], parts, faults)
    ids = list(range(1, len(classes) + 1))
    return ListedDetection(tree.root.name, tree.root, classes, ids, parts, notes=notes + lookup.notes())


def _boxes(rows: dict[Path, "_Row"], titles: dict, classes: list[str]) -> ListedBoxes:
    found = [
        (i, classes.index(titles[category]), (x, y, x + width, y + height))
        for i, row in enumerate(rows.values())
        for (x, y, width, height), category in zip(row.boxes, row.categories, strict=True)
    ]
    return ListedBoxes.of(list(rows), found, sizes=[row.size for row in rows.values()])


def _check_units(path: Path, parts: dict[str, ListedBoxes], faults: list[str] | None) -> None:
    boxes = np.concatenate([part.boxes for part in parts.values()])
    sizes = [
        np.array([size or (np.nan, np.nan) for size in part.sizes]).reshape(-1, 2)[part.image]
        for part in parts.values()
    ]
    refuse_shares(boxes, path, faults)
    values = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    if are_corners(values, np.concatenate(sizes), centred=False):
        object_to(f"{path}: {MEANT_AS_CORNERS} x, y, width, height.", faults)


@dataclass(frozen=True, eq=False)
class _Row:
    """A row: where it stands, its image, boxes [x, y, width, height] and their categories, and a size if it has one."""

    where: str
    file_name: str
    boxes: list[list[float]]
    categories: list[str | int]
    size: tuple[int, int] | None


def _rows(path: Path, faults: list[str] | None) -> Iterator[_Row]:
    table = read_table(path)
    for number, values in table.rows:
        where = table.where(number)
        if (name := values.get("file_name")) is None:
            raise UserError(f"{where} has no file_name.")
        if not isinstance(name, str) or not name.strip() or "\0" in name:
            raise UserError(f"{where}: the file_name {shown(str(name))!r} is none.")
        try:
            boxes, categories = _objects(values.get("objects"))
        except ValueError as error:
            object_to(f"{where} {error}.", faults)
            continue
        yield _Row(where, name.strip(), boxes, categories, _size(values))


def _objects(given: Any) -> tuple[list[list[float]], list[str | int]]:
    """Boxes and categories of a row.

    Raises:
        ValueError: They are none; the message is a reason.
    """
    if isinstance(given, str):
        given = _parsed(given.strip())
    if not given:
        return [], []
    if isinstance(given, list):
        if not all(isinstance(one, dict) for one in given):
            raise ValueError("has objects that are no mappings")
        boxes, categories = [_first(one, BOXES) for one in given], [_first(one, CATEGORIES) for one in given]
    elif isinstance(given, dict):
        boxes, categories = _first(given, BOXES) or [], _first(given, CATEGORIES)
        if categories is None and boxes:
            raise ValueError(f"has boxes without one of {', '.join(CATEGORIES)}")
        categories = categories or []
    else:
        raise ValueError("has objects that are no mapping")
    if not isinstance(boxes, list) or not isinstance(categories, list) or len(boxes) != len(categories):
        counts = [len(one) if isinstance(one, list) else "no list of" for one in (boxes, categories)]
        raise ValueError(f"needs as many categories as boxes, but has {counts[0]} boxes and {counts[1]} categories")
    if not all(map(is_box, boxes)):
        raise ValueError("has a box that is not four numbers [x, y, width, height]")
    return boxes, [_category(one) for one in categories]


def _parsed(text: str) -> Any:
    """JSON, or with single quotes, as pandas leaves it in CSV."""
    if not text or text.lower() in ("none", "nan", "null"):
        return None
    for written in (text, text.replace("'", '"')):
        try:
            return json.loads(written)
        except (ValueError, RecursionError):
            continue
    raise ValueError("has objects that are no JSON")


def _first(values: dict, keys: tuple[str, ...]) -> Any:
    return next((values[key] for key in keys if key in values), None)


def _category(value: Any) -> str | int:
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is int and abs(value) < 2**62:
        return value
    if isinstance(value, str) and value.strip() and not any("\ud800" <= letter <= "\udfff" for letter in value):
        return unicodedata.normalize("NFC", value.strip())
    raise ValueError(f"has the category {shown(str(value)[:40])!r}, which is no name or number")


def _size(values: dict) -> tuple[int, int] | None:
    sides = [re.fullmatch(r"\s*(\d{1,9})(\.0)?\s*", str(values.get(side))) for side in ("width", "height")]
    width, height = (int(side[1]) if side else 0 for side in sides)
    return (width, height) if width and height else None


def _classes(tree: Tree, given: set[str | int]) -> tuple[list[str], dict[str | int, str], list[str]]:
    """Class names in order, the name of each category, and notes."""
    numbers = sorted(category for category in given if isinstance(category, int))
    texts = sorted(category for category in given if isinstance(category, str))
    if not numbers:
        return texts, {name: name for name in texts}, []
    named, notes = names_of_numbers(set(numbers), names_in_card(tree.root / "README.md", "objects"), "Categories")
    titles: dict[str | int, str] = {**{name: name for name in texts}, **{n: named[n] for n in numbers}}
    if len(set(titles.values())) < len(titles):
        twice = max(titles.values(), key=list(titles.values()).count)
        raise UserError(f"{tree.root}: two categories are called {twice!r}: rename one.")
    return [*(titles[n] for n in numbers), *texts], titles, notes
