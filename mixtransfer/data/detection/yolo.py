"""YOLO: a `data.yaml` that names classes and image folders, and a text file of boxes for each image."""

from pathlib import Path

import numpy as np

from mixtransfer.data.confine import inside
from mixtransfer.data.detection.listed import ListedBoxes, ListedDetection
from mixtransfer.data.images import is_image_name
from mixtransfer.data.listed import SPLIT_NAMES
from mixtransfer.errors import UserError
from mixtransfer.plain_yaml import load_plain_yaml


def list_yolo(path: Path, faults: list[str] | None = None) -> ListedDetection:
    """List a dataset in YOLO's layout.

    ``data.yaml`` has ``names`` (a list, or position → name) and ``train``, ``val`` and ``test`` as far as present: a
    folder, a text file of image paths, or a list of such, relative to ``path`` or to the file's own folder, which none
    of them may leave. The boxes of ``images/…/x.jpg`` are in ``labels/…/x.txt``, one a line: class, then centre x,
    centre y, width, height, or the corners of a polygon, whose bounds are then the box; all in shares of width and
    height. An image without such a file has no objects.

    Args:
        path: ``data.yaml``.
        faults: Takes a sentence for each line of an undeclared class, which is then left out; without it the first one
            raises.

    Raises:
        UserError: Something is missing or malformed; the message names the file and line.
    """
    try:
        contents = load_plain_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as YAML ({error}).") from error
    if not isinstance(contents, dict) or not {"names", "train"} <= contents.keys():
        raise UserError(f"{path} needs the keys names and train to describe a YOLO dataset.")
    classes = _names(path, contents["names"])
    root = contents.get("path") or ""
    if not isinstance(root, str):
        raise UserError(f"{path}: path must be a folder, not {type(root).__name__}.")
    parts = {}
    for key, given in contents.items():
        if key in SPLIT_NAMES and given:
            files = [f for entry in (given if isinstance(given, list) else [given]) for f in _files(path, root, entry)]
            parts[SPLIT_NAMES[key]] = _part(sorted(set(files)), classes, faults)
    return ListedDetection(path.resolve().parent.name, path, classes, list(range(len(classes))), parts)


def _names(path: Path, names: object) -> list[str]:
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise UserError(f"{path}: names must be numbered 0, 1, 2 … without gaps.")
        names = [names[i] for i in range(len(names))]
    if not isinstance(names, list) or not names:
        raise UserError(f"{path}: names must list the classes.")
    if not all(isinstance(name, str | int | float) for name in names):
        raise UserError(f"{path}: names must be texts.")
    return [str(name) for name in names]


def _files(path: Path, root: str, entry: object) -> list[Path]:
    if not isinstance(entry, str):
        raise UserError(f"{path}: train, val and test must be folders or text files, not {type(entry).__name__}.")
    places, beyond = [], None
    # Roboflow writes ../train/images for what lies beside data.yaml.
    for name in (Path(entry), Path(entry.removeprefix("../"))):
        for base in (Path(root), Path()):
            try:
                places.append(inside(path.parent, str(base / name)))
            except ValueError as error:
                beyond = beyond or error
    place = next((place for place in places if place.exists()), None)
    if place is None:
        reason = f"{beyond}: put data.yaml above its images" if beyond else "is not there"
        raise UserError(f"{path} names {entry!r}, which {reason}.")
    if place.is_dir():
        return [file for file in place.rglob("*") if is_image_name(file)]
    try:
        lines = place.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{place} is not a text file of image paths ({error}).") from error
    try:
        return [inside(path.parent, str(place.parent / line.strip())) for line in lines if line.strip()]
    except ValueError as error:
        raise UserError(f"{place} names an image that {error}: put data.yaml above its images.") from error


def _part(files: list[Path], classes: list[str], faults: list[str] | None) -> ListedBoxes:
    found = [(i, *entry) for i, file in enumerate(files) for entry in _read(_label_file(file), classes, faults)]
    return ListedBoxes(
        files=files,
        image_ids=list(range(1, len(files) + 1)),
        sizes=[None] * len(files),
        image=np.array([i for i, *_ in found], dtype=np.int64),
        boxes=np.array([box for *_, box in found], dtype=np.float64).reshape(-1, 4),
        labels=np.array([label for _, label, _ in found], dtype=np.int64),
        crowd=np.zeros(len(found), dtype=bool),
        ids=np.arange(1, len(found) + 1),
        area=np.full(len(found), np.nan),
        relative=True,
    )


def _label_file(image: Path) -> Path:
    """The same path under ``labels`` in place of the last ``images``; beside the image where it has none."""
    places = [i for i, folder in enumerate(image.parts[:-1]) if folder == "images"]
    parts = list(image.parts)
    if places:
        parts[places[-1]] = "labels"
    return Path(*parts).with_suffix(".txt")


def _read(path: Path, classes: list[str], faults: list[str] | None) -> list[tuple[int, list[float]]]:
    """Class and x1, y1, x2, y2 of each line."""
    if not path.is_file():
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as text ({error}).") from error
    entries = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            label, *values = map(float, line.split())
            if len(values) != 4 and (len(values) < 6 or len(values) % 2) or label != int(label):
                raise ValueError
        except (ValueError, OverflowError):
            raise UserError(
                f"{path}, line {number}: {line.strip()[:40]!r} is not a class and four numbers, or a polygon."
            ) from None
        if not 0 <= label < len(classes):
            sentence = f"{path}, line {number} has class {int(label)}, which is not among the {len(classes)} names."
            if faults is None:
                raise UserError(sentence)
            faults.append(sentence)
            continue
        if len(values) == 4:
            x, y, width, height = values
            box = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
        else:
            corners = np.array(values).reshape(-1, 2)
            box = [*corners.min(axis=0), *corners.max(axis=0)]
        entries.append((int(label), box))
    return entries
