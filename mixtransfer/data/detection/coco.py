"""COCO JSON: reading with checks, and writing."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mixtransfer.data.detection.dataset import Record
from mixtransfer.data.detection.listed import ListedBoxes
from mixtransfer.errors import UserError


@dataclass(frozen=True)
class CocoFile:
    """The checked contents of one file of ground truth.

    Attributes:
        path: The file.
        categories: Id → name.
        images: Entries with a whole ``id``, each once, and a relative ``file_name``.
        annotations: Entries whose ``id`` is whole and stands once, of a listed image and category, with a ``bbox`` of
            four numbers.
    """

    path: Path
    categories: dict[int, str]
    images: list[dict]
    annotations: list[dict]

    def listed(self, folder: Path, category_ids: Sequence[int]) -> ListedBoxes:
        """The images, taken from ``folder``, and their boxes, labelled by position in ``category_ids``."""
        position = {image["id"]: i for i, image in enumerate(self.images)}
        label = {category: i for i, category in enumerate(category_ids)}
        boxes = np.array([a["bbox"] for a in self.annotations], dtype=np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        return ListedBoxes(
            files=[folder / image["file_name"] for image in self.images],
            image_ids=[image["id"] for image in self.images],
            sizes=[_size(self.path, image) for image in self.images],
            image=np.array([position[a["image_id"]] for a in self.annotations], dtype=np.int64),
            boxes=boxes,
            labels=np.array([label[a["category_id"]] for a in self.annotations], dtype=np.int64),
            crowd=np.array([bool(a.get("iscrowd")) for a in self.annotations], dtype=bool),
            ids=np.array([a["id"] for a in self.annotations], dtype=np.int64),
            area=np.array(
                [a["area"] if _is_number(a.get("area")) else np.nan for a in self.annotations], dtype=np.float64
            ),
        )


def read_coco(path: Path, faults: list[str] | None = None) -> CocoFile:
    """Read a COCO file of instance annotations.

    Args:
        path: The file.
        faults: Takes a sentence for each annotation that cannot be used, which is then left out; without it the first
            one raises.

    Raises:
        UserError: It is no such file, or an entry of it is wrong; the message names the entry.
    """
    contents = _parsed(path)
    categories = _categories(path, contents["categories"])
    images, annotations = contents["images"], contents["annotations"]
    known = set(_unique_ids(path, images, "image"))
    for image in images:
        name = image.get("file_name")
        if not isinstance(name, str) or not _is_text(name) or "\0" in name:
            raise UserError(f"{path}: image {image['id']} has no file_name.")
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise UserError(f"{path}: the file_name {name!r} must be relative to the folder of the images.")
    _unique_ids(path, annotations, "annotation")
    sound = []
    for annotation in annotations:
        if (fault := _fault(annotation, known, categories)) is None:
            sound.append(annotation)
            continue
        sentence = f"{path}: annotation {annotation['id']} {fault}"
        if faults is None:
            raise UserError(sentence)
        faults.append(sentence)
    return CocoFile(path, categories, images, sound)


def _fault(annotation: dict, images: set[int], categories: dict[int, str]) -> str | None:
    """Why an annotation cannot be used."""
    image, category, box = (annotation.get(key) for key in ("image_id", "category_id", "bbox"))
    if not isinstance(image, int) or image not in images:
        return f"is of image {image!r}, which is not listed: take it out, or list the image."
    if not isinstance(category, int) or category not in categories:
        return f"has category {category!r}, which is not declared: add it to the categories."
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        return "needs a bbox of four numbers [x, y, width, height]."
    return None


def coco_json(records: Sequence[Record], classes: Sequence[str], category_ids: Sequence[int]) -> dict[str, Any]:
    """Ground truth as COCO has it, with the original image, category and annotation ids.

    An annotation id of 0 gets a free one instead: pycocotools marks a detection with the id of the annotation that it
    matches, and takes 0 for "none".
    """
    spare = 1 + max((int(record.ids.max(initial=0)) for record in records), default=0)
    annotations = [
        {
            "id": int(number) or spare,
            "image_id": record.image_id,
            "category_id": category_ids[label],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": float(area),
            "iscrowd": int(crowd),
        }
        for record in records
        for number, label, crowd, area, (x1, y1, x2, y2) in zip(
            record.ids, record.labels, record.crowd, record.area, record.boxes.tolist(), strict=True
        )
    ]
    return {
        "info": {},
        "images": [{"id": r.image_id, "file_name": r.file.name, "width": r.width, "height": r.height} for r in records],
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for i, name in zip(category_ids, classes, strict=True)],
    }


def _parsed(path: Path) -> dict[str, list[dict]]:
    try:
        contents = json.loads(path.read_bytes(), object_hook=_without_outlines)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON ({error}).") from error
    parts = ("images", "annotations", "categories")
    if isinstance(contents, list):
        raise UserError(
            f"{path} is a list, as COCO results are: the ground truth is an object with {', '.join(parts)}."
        )
    for key in parts:
        entries = contents.get(key) if isinstance(contents, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise UserError(f"{path} is not COCO ground truth: it has no list of {key}.")
    return contents


def _without_outlines(entry: dict) -> dict:
    """Most of a COCO file is segmentations; dropping them while it is parsed saves most of the memory."""
    entry.pop("segmentation", None)
    return entry


def _categories(path: Path, entries: list[dict]) -> dict[int, str]:
    ids = _unique_ids(path, entries, "category")
    for entry in entries:
        if not _is_text(entry.get("name")):
            raise UserError(f"{path}: category {entry['id']} has no name.")
    if not ids:
        raise UserError(f"{path} declares no categories.")
    return dict(zip(ids, (entry["name"] for entry in entries), strict=True))


def _unique_ids(path: Path, entries: list[dict], what: str) -> list[int]:
    ids: list[Any] = [entry.get("id") for entry in entries]
    for place, number in enumerate(ids):
        if type(number) is not int or abs(number) >= 2**63:
            raise UserError(f"{path}: {what} number {place + 1} has the id {number!r}, which is not a whole number.")
    if len(set(ids)) < len(ids):
        twice = Counter(ids).most_common(1)[0][0]
        raise UserError(f"{path}: the {what} id {twice} stands twice.")
    return ids


def _size(path: Path, image: dict) -> tuple[int, int] | None:
    size: tuple[Any, Any] = image.get("width"), image.get("height")
    if size == (None, None):
        return None
    if not all(map(_is_number, size)):
        raise UserError(
            f"{path}: image {image['id']} has the size {size[0]!r}×{size[1]!r}, which is not one of pixels."
        )
    return size


def _is_text(value: Any) -> bool:
    """Whether it is a text with something in it that can be written; JSON can hold halves of characters."""
    return isinstance(value, str) and bool(value) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _is_number(value: Any) -> bool:
    return type(value) is float or (type(value) is int and abs(value) < 2**63)
