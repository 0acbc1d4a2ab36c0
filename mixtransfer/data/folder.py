"""Image folders: a folder of class folders, already split or not."""

import os
from pathlib import Path

from mixtransfer.data.images import is_image_name
from mixtransfer.data.listed import SPLIT_NAMES, ListedImages
from mixtransfer.errors import UserError


def list_folder(root: Path) -> ListedImages:
    """List an image folder.

    Layouts: ``train/val/test``, ``train/test`` (validation comes out of train), ``train/val`` (val is then the
    test set, and validation comes out of train), or class folders at the top (split by class with a seed).

    Raises:
        UserError: There are no class folders, or no images.
    """
    splits = {SPLIT_NAMES[f.name.lower()]: f for f in _subfolders(root) if f.name.lower() in SPLIT_NAMES}
    if "train" not in splits:
        splits = {"all": root}
    elif not splits.keys() & {"val", "test"}:
        splits = {"all": splits["train"]}
    classes = [f.name for f in _subfolders(splits.get("all") or splits["train"])]
    if not classes:
        raise UserError(
            f"{root} holds no class folders: put the images of each class into a folder named after it "
            f"({root.name}/cat/1.jpg), or give a CSV manifest."
        )
    for name in classes:
        if any("\ud800" <= letter <= "\udfff" for letter in name):  # how Python stands for bytes that are no UTF-8
            raise UserError(f"The name of the class folder {ascii(name)} in {root} is not UTF-8: rename it.")
    parts = {part: _class_files(folder, classes) for part, folder in splits.items()}
    if not any(files for files, _ in parts.values()):
        raise UserError(f"{root} holds no images: none of its class folders has a file with an image's name.")
    return ListedImages(root.name, root, classes, parts)


def _subfolders(folder: Path) -> list[Path]:
    return sorted((f for f in folder.iterdir() if f.is_dir() and not f.name.startswith(".")), key=lambda f: f.name)


def _refuse(error: OSError) -> None:
    raise UserError(f"{error.filename} cannot be read ({error.strerror}).") from error


def _class_files(folder: Path, classes: list[str]) -> tuple[list[Path], list[int]]:
    found = [f.name for f in _subfolders(folder)]
    unknown = sorted(set(found) - set(classes))
    if unknown:
        raise UserError(f"{folder / unknown[0]} is a class that the training part does not have.")
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        if name not in found:
            continue
        here = sorted(
            path
            for parent, _, names in os.walk(folder / name, onerror=_refuse)
            for path in map(Path(parent).joinpath, names)
            if is_image_name(path)
        )
        files += here
        labels += [label] * len(here)
    return files, labels
