"""YOLO: a `data.yaml` that names classes and image folders, and a text file of boxes for each image."""

import re
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np

from mixtransfer.common.plain_yaml import load_plain_texts
from mixtransfer.data.detection.boxes import ListedBoxes
from mixtransfer.data.detection.listed import ListedDetection
from mixtransfer.data.detection.places import Places
from mixtransfer.data.detection.yolo_labels import Labels
from mixtransfer.data.listed import SPLIT_NAMES
from mixtransfer.data.lookup import shown
from mixtransfer.data.text import read_text
from mixtransfer.data.tree import Tree
from mixtransfer.errors import UserError


def yolo_files(tree: Tree) -> list[str]:
    """The files of a folder that describe a YOLO dataset."""
    found = []
    for name in tree.having(".yaml", ".yml"):
        if "/" not in name:
            try:
                contents = load_plain_texts(read_text(tree.root / name))
            except (OSError, ValueError):
                contents = None
            keys = contents.keys() if isinstance(contents, dict) else set()
            if name.startswith("data.") or ("names" in keys and keys & SPLIT_NAMES.keys()):
                found.append(name)
    return found


def list_yolo(path: Path, faults: list[str] | None = None) -> ListedDetection:
    """List a dataset in YOLO's layout.

    ``data.yaml`` has ``names`` (a list, or position → name) and ``train``, ``val`` and ``test`` as far as present: a
    folder, a text file of image paths, or a list of such, relative to ``path`` or to the file's own folder, which none
    of them may leave. With ``kpt_shape`` the labels are boxes and key points. For the label files see ``Labels``.

    Args:
        path: ``data.yaml``.
        faults: Takes a sentence for each line that cannot be used, which is then left out; without it the first one
            raises.

    Raises:
        UserError: Something is missing or malformed; the message names the file and line.
    """
    try:
        contents = load_plain_texts(read_text(path))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as YAML ({error}).") from error
    if not isinstance(contents, dict) or not {"names", "train"} <= contents.keys():
        raise UserError(f"{path} needs the keys names and train to describe a YOLO dataset.")
    names = _names(path, contents["names"])
    folder = contents.get("path") or ""
    if not isinstance(folder, str):
        raise UserError(f"{path}: path must be a folder, not {type(folder).__name__}.")
    tree = Tree(path.parent.resolve())
    places = Places(path, tree, folder)
    files = places.parts(_parts(path, contents))
    shape = _key_points(path, contents.get("kpt_shape"))
    labels = Labels(tree.root, lambda _: range(len(names)), faults, shape)
    parts = {part: labels.read(members) for part, members in files.items()}
    kept = _unique(path, names, parts)
    classes = [names[number] for number in kept]
    if len(kept) < len(names):
        order = np.array([kept.index(number) if number in kept else -1 for number in range(len(names))])
        parts = {part: replace(listed, labels=order[listed.labels]) for part, listed in parts.items()}
    notes = [*places.notes, *labels.notes()]
    if (count := contents.get("nc", "")) not in ("", str(len(names))):
        notes.append(f"{path.name} has {len(names)} names, though it says nc: {shown(str(count))}.")
    lone = labels.unused([tree.root / name for name in tree.having(".txt")])
    left_out = [lone] if lone else []
    return ListedDetection(tree.root.name, path, classes, kept, parts, notes=notes, left_out=left_out)


def _unique(path: Path, names: list[str], parts: dict[str, ListedBoxes]) -> list[int]:
    """The numbers of the classes: of several that bear a name, the one that is used.

    Raises:
        UserError: Two of a name are used.
    """
    used = {int(label) for part in parts.values() for label in np.unique(part.labels)}
    kept: dict[str, int] = {}
    for number in sorted(range(len(names)), key=lambda number: (number not in used, number)):
        other = kept.setdefault(names[number], number)
        if other != number and number in used:
            raise UserError(f"{path}: the classes {other} and {number} are both called {names[number]!r}: rename one.")
    return sorted(kept.values())


def _parts(path: Path, contents: dict) -> dict[str, list[str]]:
    """What each part's key gives, as a list of texts."""
    parts: dict[str, list[str]] = {}
    keys: dict[str, str] = {}
    for key, given in contents.items():
        if key not in SPLIT_NAMES or given in (None, "", [], "null", "~"):
            continue
        entries = given if isinstance(given, list) else [given]
        for entry in entries:
            if not isinstance(entry, str):
                raise UserError(f"{path}: train, val and test must be folders or text files, not {_kind(entry)}.")
        part = SPLIT_NAMES[key]
        if parts.setdefault(part, entries) != entries:
            raise UserError(f"{path} has both {keys[part]} and {key}, which are the same part: take one out.")
        keys[part] = key
    if "train" not in parts:
        raise UserError(f"{path} needs the keys names and train to describe a YOLO dataset.")
    return parts


def _kind(value: object) -> str:
    return type(value).__name__


def _names(path: Path, names: object) -> list[str]:
    if isinstance(names, dict):
        if sorted(names) != sorted(map(str, range(len(names)))):
            raise UserError(f"{path}: names must be numbered 0, 1, 2 … without gaps.")
        names = [names[str(i)] for i in range(len(names))]
    if not isinstance(names, list) or not names:
        raise UserError(f"{path}: names must list the classes.")
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise UserError(f"{path}: names must be texts.")
    return [unicodedata.normalize("NFC", name.strip()) for name in names]


def _key_points(path: Path, shape: object) -> tuple[int, int] | None:
    if shape in (None, "", "null", "~"):
        return None
    if isinstance(shape, list) and len(shape) == 2 and all(re.fullmatch(r"\d{1,4}", str(n)) for n in shape):
        points, each = map(int, shape)
        if points and each in (2, 3):
            return points, each
    raise UserError(f"{path}: kpt_shape must be [number of key points, 2 or 3].")
