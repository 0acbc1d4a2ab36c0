"""labelImg: YOLO's label files beside the images or in `labels/`, and a `classes.txt` for the names."""

import itertools
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from mixtransfer.data.detection.listed import ListedDetection
from mixtransfer.data.detection.yolo_labels import Labels, has_rows, read_names
from mixtransfer.data.lookup import shown
from mixtransfer.data.parts import by_folder
from mixtransfer.data.tree import Tree
from mixtransfer.errors import UserError

NAMES = ("classes.txt", "_darknet.labels")  # the second is Roboflow's


def names_files(tree: Tree) -> list[str]:
    """The files of a folder that name the classes, the uppermost first."""
    found = [name for name in tree.having(*NAMES) if PurePosixPath(name).name in NAMES]
    return sorted(found, key=lambda name: (name.count("/"), name))


def labelled_images(tree: Tree) -> list[str]:
    """The images of each folder in which one has a label file."""
    by_place: dict[str, list[str]] = {}
    for name in tree.images:
        by_place.setdefault(name.rpartition("/")[0], []).append(name)
    if not tree.having(".txt"):
        return []
    return sorted(name for members in by_place.values() if _one_has_labels(tree, members) for name in members)


def has_labels(tree: Tree, images: Sequence[str], most: int = 200) -> bool:
    """Whether one of ``images`` has a label file with a label in it; ``most`` text files are looked into."""
    return bool(tree.having(".txt")) and _one_has_labels(tree, images, most)


def _one_has_labels(tree: Tree, images: Sequence[str], most: int = 200) -> bool:
    labels = Labels(tree.root, lambda _: [])
    files = (file for name in images if (file := labels.label_file(tree.root / name)) is not None)
    return any(has_rows(file) for file in itertools.islice(files, most))


def list_labelimg(tree: Tree, faults: list[str] | None = None) -> ListedDetection:
    """List a dataset as labelImg, Label Studio (as YOLO) and Roboflow (as Darknet) leave it.

    The names of a label file's classes are those of the nearest ``classes.txt`` above it, or above its image, so that
    folders with other orders of classes go together. Parts are the folders that are called so. For the label files see
    ``Labels``.

    Args:
        tree: The dataset's folder.
        faults: See ``list_yolo``.

    Raises:
        UserError: Something is missing or malformed; the message names the file and line.
    """
    described = {name.rpartition("/")[0]: read_names(tree.root / name) for name in names_files(tree)}
    if not described:
        raise UserError(
            f"{tree.root} has no classes.txt: write the name of each class into it, a line each, from 0 on."
        )
    classes = list(dict.fromkeys(name for names in described.values() for name in names))
    images = labelled_images(tree)
    if not images:
        raise UserError(f"{tree.root} has no label files: not one of its images has a text file of its name.")
    try:
        members = by_folder(images)
    except ValueError as error:
        raise UserError(f"{tree.root}: {error}: move it.") from None

    number = {name: i for i, name in enumerate(classes)}
    numbers = {tuple(names): [number[name] for name in names] for names in described.values()}

    def labels_of(label_file: Path) -> Sequence[int]:
        folder = label_file.relative_to(tree.root).parent
        above = [place.as_posix() if place.as_posix() != "." else "" for place in (folder, *folder.parents)]
        names = next((described[place] for place in above if place in described), next(iter(described.values())))
        return numbers[tuple(names)]

    labels = Labels(tree.root, labels_of, faults)
    parts = {part: labels.read([tree.root / name for name in names]) for part, names in members.items()}
    notes = labels.notes()
    if len({tuple(names) for names in described.values()}) > 1:
        files = [f"{place}/" if place else "the folder itself" for place in described]
        notes.append(f"Class names differ between {shown(' and '.join(files[:2]))}: each holds for its own labels.")
    lone = labels.unused([tree.root / name for name in tree.having(".txt")])
    return ListedDetection(
        tree.root.name,
        tree.root,
        classes,
        list(range(len(classes))),
        parts,
        notes=notes,
        left_out=[lone] if lone else [],
    )
