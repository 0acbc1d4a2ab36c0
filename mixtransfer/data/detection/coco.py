"""COCO JSON: reading with checks, and writing."""

import itertools
import json
import unicodedata
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mixtransfer.data.detection.boxes import MEANT_AS_CORNERS, ListedBoxes, are_corners, object_to, refuse_shares
from mixtransfer.data.detection.dataset import Record
from mixtransfer.data.detection.outlines import is_box, is_number, is_text, outline_box
from mixtransfer.data.lookup import shown
from mixtransfer.errors import UserError

FOUND = "Found by mixtransfer detect predict with"  # and the run: the description of what a detector wrote
OUTLINE = "box of the outline"  # a key that marks annotations whose box is that of their outline


@dataclass(frozen=True)
class CocoFile:
    """The checked contents of one file of ground truth.

    Attributes:
        path: The file.
        categories: Id → name.
        roots: Ids of categories that are said to be above others.
        images: Entries with a whole ``id``, each once, and a ``file_name``, which may be of another machine.
        annotations: Entries whose ``id`` is whole and stands once, of a listed image and category, with a ``bbox`` of
            four numbers.
        notes: What was numbered anew or taken for a box, in sentences.
    """

    path: Path
    categories: dict[int, str]
    roots: set[int]
    images: list[dict]
    annotations: list[dict]
    notes: list[str]

    @property
    def used(self) -> set[int]:
        """Ids of the categories that some annotation has."""
        return {annotation["category_id"] for annotation in self.annotations}

    def listed(self, files: Sequence[Path], labels: Mapping[int, int]) -> ListedBoxes:
        """The boxes, with the file of each image and the label of each category.

        Entries of one file are one image; a box that stands in several of them counts once.
        """
        first: dict[Path, int] = {}
        place = [first.setdefault(file, len(first)) for file in files]
        position = {image["id"]: place[i] for i, image in enumerate(self.images)}
        kept, known = [], set()
        for annotation in self.annotations:
            image = position[annotation["image_id"]]
            box = (image, annotation["category_id"], *annotation["bbox"])
            if len(first) == len(files) or box not in known:
                kept.append((annotation, image))
                known.add(box)
        found = []
        for annotation, image in kept:
            x, y, width, height = annotation["bbox"]
            found.append((image, labels[annotation["category_id"]], (x, y, x + width, y + height)))
        entry = {place[i]: image for i, image in reversed(list(enumerate(self.images)))}
        return ListedBoxes.of(
            list(first),
            found,
            image_ids=[entry[i]["id"] for i in range(len(first))],
            sizes=[_size(self.path, entry[i]) for i in range(len(first))],
            crowd=[a.get("iscrowd") in (1, "1") for a, _ in kept],
            ids=[a["id"] for a, _ in kept],
            area=[a["area"] if is_number(a.get("area")) else np.nan for a, _ in kept],
        )


def read_coco(path: Path, faults: list[str] | None = None) -> CocoFile:
    """Read a COCO file of instance annotations.

    Ids may be texts: they are then numbered. An annotation without a box has that of its outline.

    Args:
        path: The file.
        faults: Takes a sentence for each annotation that cannot be used, which is then left out; without it the first
            one raises.

    Raises:
        UserError: It is no such file, or an entry of it is wrong; the message names the entry.
    """
    contents = _parsed(path)
    _refuse_results(path, contents)
    notes: list[str] = []
    categories, roots, category_of = _categories(path, contents["categories"], notes)
    images, image_of = _images(path, contents["images"], notes)
    annotations = contents["annotations"]
    numbers = _annotation_ids(annotations, notes)
    outlines = 0
    sound = []
    for annotation, number in zip(annotations, numbers, strict=True):
        image, category = (_key(annotation.get(key)) for key in ("image_id", "category_id"))
        if image in image_of and category in category_of and is_box(annotation.get("bbox")):
            outlines += OUTLINE in annotation
            ids = {"id": number, "image_id": image_of[image], "category_id": category_of[category]}
            sound.append({**annotation, **ids})
            continue
        fault = _fault(annotation, image_of, category_of)
        object_to(f"{path}: annotation {annotation.get('id', number)} {fault}", faults)
    if outlines:
        notes.append(f"Annotations without a box, which have that of their outline: {outlines}.")
    _check_units(path, sound, images, faults)
    return CocoFile(path, categories, roots, images, sound, notes)


def _fault(annotation: dict, images: Container, categories: Container) -> str:
    """Why an annotation cannot be used."""
    image, category = annotation.get("image_id"), annotation.get("category_id")
    if _key(image) not in images:
        return f"is of image {image!r}, which is not listed: take it out, or list the image."
    if _key(category) not in categories:
        return f"has category {category!r}, which is not declared: add it to the categories."
    return "needs a bbox of four numbers [x, y, width, height]."


def _check_units(path: Path, annotations: list[dict], images: list[dict], faults: list[str] | None) -> None:
    """Refuse boxes that are no place and size in pixels, which nobody would see from the numbers alone."""
    boxes = np.array([a["bbox"] for a in annotations], dtype=np.float64).reshape(-1, 4)
    boxes = boxes[np.isfinite(boxes).all(axis=1)]
    if len(boxes) < len(annotations) or not len(boxes):
        return
    refuse_shares(boxes, path, faults)
    sizes = {image["id"]: _size(path, image) or (np.nan, np.nan) for image in images}
    if are_corners(boxes, np.array([sizes[a["image_id"]] for a in annotations], dtype=np.float64), centred=False):
        object_to(f"{path}: {MEANT_AS_CORNERS} [x, y, width, height].", faults)


def coco_json(records: Sequence[Record], classes: Sequence[str], category_ids: Sequence[int]) -> dict[str, Any]:
    """Ground truth as COCO has it, with the original image, category and annotation ids.

    An annotation id of 0 gets a free one instead, and so does one that another annotation has, as happens in records of
    two files: pycocotools marks a detection with the id of the annotation that it matches, takes 0 for "none", and
    knows one annotation by each id.
    """
    free = itertools.count(1 + max((int(record.ids.max(initial=0)) for record in records), default=0))
    taken = {0}

    def own_id(number: int) -> int:
        number = next(free) if number in taken else number
        taken.add(number)
        return number

    annotations = [
        {
            "id": own_id(int(number)),
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


def _parsed(path: Path) -> dict[str, Any]:
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


def _refuse_results(path: Path, contents: dict) -> None:
    """Refuse the file that `detect predict` writes beside its drawn copies, which bear the names of the images."""
    info = contents.get("info")
    if path.name == "detections.json" and isinstance(info, dict) and str(info.get("description")).startswith(FOUND):
        raise UserError(
            f"{path} is what a detector found in images that lie elsewhere; those beside it are drawn on: use `detect "
            "predict --format coco` for a folder to correct and to train on."
        )


def _without_outlines(entry: dict) -> dict:
    """Most of a COCO file is segmentations; dropping them while it is parsed saves most of the memory."""
    if "segmentation" in entry:
        outline = entry.pop("segmentation")
        box = entry.get("bbox")
        if (not box or (is_box(box) and not any(box))) and (own := outline_box(outline)) is not None:
            entry["bbox"], entry[OUTLINE] = own, True
    return entry


def _categories(path: Path, entries: list[dict], notes: list[str]) -> tuple[dict[int, str], set[int], dict[Any, int]]:
    """Names by id, the ids of those above others, and the id of each key."""
    ids = _numbered(path, entries, "category", notes)
    names: list[Any] = [
        str(name) if type(name := entry.get("name")) in (int, float) else name for entry in entries
    ]  # digits and sizes are names too
    for entry, name in zip(entries, names, strict=True):
        if not is_text(name) or not name.strip():
            raise UserError(f"{path}: category {entry['id']} has no name.")
    if not entries:
        raise UserError(f"{path} declares no categories.")
    if len(ids) < len(entries):
        raise UserError(f"{path}: the category id {_twice(entries)} stands twice.")
    plain = [unicodedata.normalize("NFC", name.strip()) for name in names]
    above = {str(entry.get("supercategory")).strip() for entry, name in zip(entries, plain, strict=True)
             if entry.get("supercategory") != name}  # fmt: skip
    named = dict(zip(ids.values(), plain, strict=True))
    return named, {number for number, name in named.items() if name in above}, ids


def _images(path: Path, entries: list[dict], notes: list[str]) -> tuple[list[dict], dict[Any, int]]:
    """The images with whole ids, and the id of each key; entries that are the same stand once."""
    ids = _numbered(path, entries, "image", notes)
    images: dict[int, dict] = {}
    for entry in entries:
        name = entry.get("file_name")
        if not isinstance(name, str) or not is_text(name) or "\0" in name:
            raise UserError(f"{path}: image {entry['id']} has no file_name.")
        number = ids[_key(entry["id"])]
        if images.setdefault(number, {**entry, "id": number})["file_name"] != name:
            raise UserError(f"{path}: the image id {entry['id']} stands twice.")
    return list(images.values()), ids


def _annotation_ids(entries: list[dict], notes: list[str]) -> list[int]:
    """The ids as they are, or 1, 2, 3 … if one is no number or stands twice: nothing else refers to them."""
    ids: list[Any] = [entry.get("id") for entry in entries]
    if all(type(number) is int and abs(number) < 2**63 for number in ids) and len(set(ids)) == len(ids):
        return ids
    notes.append("Annotation ids that are missing, no numbers or not unique: all are numbered anew.")
    return list(range(1, len(ids) + 1))


def _numbered(path: Path, entries: list[dict], what: str, notes: list[str]) -> dict[Any, int]:
    """A whole number for each id: itself, if it is one or its digits, otherwise a free one."""
    keys: list[Any] = [_key(entry.get("id")) for entry in entries]
    for place, key in enumerate(keys):
        if key is None:
            given = entries[place].get("id")
            raise UserError(f"{path}: {what} number {place + 1} has the id {given!r}, which is no number or text.")
    free = 1 + max((key for key in keys if type(key) is int), default=0)
    texts = [key for key in dict.fromkeys(keys) if type(key) is str]
    if texts:
        notes.append(f"Ids of {what} entries that are texts: {len(texts)}, numbered from {free} ({shown(texts[0])} …).")
    numbers = {key: free + i for i, key in enumerate(texts)}
    return {key: numbers.get(key, key) for key in dict.fromkeys(keys)}


def _key(value: Any) -> int | str | None:
    """An id as it is compared: a number may be written as text or with a point."""
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is str:
        value = value.strip()
        if value.isascii() and value.isdigit() and len(value) < 19:
            return int(value)
        return value or None
    return value if type(value) is int and abs(value) < 2**62 else None


def _twice(entries: list[dict]) -> Any:
    return Counter(str(_key(entry.get("id"))) for entry in entries).most_common(1)[0][0]


def _size(path: Path, image: dict) -> tuple[int, int] | None:
    size: tuple[Any, Any] = image.get("width"), image.get("height")
    if any(side is None or side in (0, -1) for side in size):  # how VIA and others say that they do not know
        return None
    if not all(map(is_number, size)):
        raise UserError(
            f"{path}: image {image['id']} has the size {size[0]!r}×{size[1]!r}, which is not one of pixels."
        )
    return size
