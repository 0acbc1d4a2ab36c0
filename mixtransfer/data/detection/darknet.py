"""Darknet: a `.data` file that names lists of images and a file of class names, as in CVAT's YOLO 1.1."""

from pathlib import Path

from mixtransfer.data.detection.listed import ListedDetection
from mixtransfer.data.detection.places import Places
from mixtransfer.data.detection.yolo_labels import Labels, read_names
from mixtransfer.data.listed import SPLIT_NAMES
from mixtransfer.data.lookup import shown
from mixtransfer.data.text import read_lines
from mixtransfer.data.tree import Tree
from mixtransfer.errors import UserError


def darknet_files(tree: Tree) -> list[str]:
    """The files of a folder that describe a Darknet dataset."""
    return [name for name in tree.having(".data") if "/" not in name]


def list_darknet(path: Path, faults: list[str] | None = None) -> ListedDetection:
    """List a dataset in Darknet's layout.

    ``obj.data`` has lines of ``key = value``: ``names`` is a file with a class a line; ``train``, ``valid`` and
    ``test`` are lists of image paths. All lie in the file's own folder, whatever folder stands before their names. For
    the label files see ``Labels``.

    Args:
        path: The file.
        faults: See ``list_yolo``.

    Raises:
        UserError: Something is missing or malformed; the message names the file and line.
    """
    try:
        lines = [line for line in read_lines(path) if line and not line.startswith("#")]
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as text ({error}).") from error
    values: dict[str, str] = {}
    for line in lines:
        key, equals, value = (word.strip() for word in line.partition("="))
        if not equals:
            raise UserError(f"{path}: {shown(line)!r} is not a line of key = value.")
        if key in values:
            raise UserError(f"{path} has {shown(key)} twice: take one out.")
        values[key] = value
    if not values.get("names") or not values.get("train"):
        raise UserError(f"{path} needs the keys names and train to describe a Darknet dataset.")
    tree = Tree(path.parent.resolve())
    places = Places(path, tree, "")
    if (named := places.place(values["names"])) is None:
        raise UserError(f"{path} names {values['names']!r}, which is not there.")
    classes = read_names(named)
    files = places.parts({SPLIT_NAMES[key]: [value] for key, value in values.items() if key in SPLIT_NAMES and value})
    labels = Labels(tree.root, lambda _: range(len(classes)), faults)
    parts = {part: labels.read(members) for part, members in files.items()}
    notes = [*places.notes, *labels.notes()]
    if values.get("classes", str(len(classes))) != str(len(classes)):
        notes.append(f"{named.name} has {len(classes)} names, though {path.name} says {shown(values['classes'])}.")
    lone = labels.unused([tree.root / name for name in tree.having(".txt")])
    return ListedDetection(
        tree.root.name, path, classes, list(range(len(classes))), parts, notes=notes, left_out=[lone] if lone else []
    )
