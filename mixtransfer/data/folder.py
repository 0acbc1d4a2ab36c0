"""Image folders: a folder of class folders, already split or not."""

import os
from pathlib import Path

import numpy as np

from mixtransfer.data.dataset import Examples, ImageDataset, with_validation
from mixtransfer.data.images import find_unusable, is_image_name
from mixtransfer.data.splits import split_off
from mixtransfer.errors import UserError

SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


def read_folder(
    root: Path, val_fraction: float, test_fraction: float, split_seed: int, check: bool = True
) -> ImageDataset:
    """Read an image folder.

    Layouts: ``train/val/test``, ``train/test`` (validation comes out of train), ``train/val`` (val is then the
    test set, and validation comes out of train), or class folders at the top (split by class with a seed).

    Args:
        check: Decode every file once and leave out those that cannot be used.

    Raises:
        UserError: No class folders, no images, or a class with too few usable images.
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
    parts = {part: _class_files(folder, classes) for part, folder in splits.items()}
    if not any(files for files, _ in parts.values()):
        raise UserError(f"{root} holds no images: none of its class folders has a file with an image's name.")
    return assemble(root.name, root, classes, parts, val_fraction, test_fraction, split_seed, check)


def assemble(
    name: str,
    source: Path,
    classes: list[str],
    parts: dict[str, tuple[list[Path], list[int]]],
    val_fraction: float,
    test_fraction: float,
    split_seed: int,
    check: bool,
) -> ImageDataset:
    """Make a dataset of files listed under "all", or under "train" with "val" and "test" as far as present."""
    skipped = find_unusable([f for files, _ in parts.values() for f in files]) if check else {}
    examples = {part: _usable(files, labels, skipped) for part, (files, labels) in parts.items()}
    _require_every_class(examples.get("all") or examples["train"], classes, source, skipped)
    notes = []
    if "all" in examples:
        stays, aside = split_off(examples["all"].labels, test_fraction, split_seed, classes, "test")
        train, test = examples["all"].subset(stays), examples["all"].subset(aside)
        notes.append(
            f"No split was given: {len(test)} of {len(test) + len(train)} images were set aside by class as the "
            f"test set (split seed {split_seed})."
        )
        return with_validation(name, classes, train, test, val_fraction, split_seed, notes, skipped)
    test = examples.get("test") or examples["val"]
    if not len(test):
        raise UserError(f"{source} has no usable image in its {'test' if 'test' in examples else 'val'} part.")
    if "test" in examples and len(examples.get("val") or ()):
        return ImageDataset(name, classes, examples["train"], examples["val"], test, notes, skipped)
    if "test" not in examples:
        notes.append("There is no test part: val is used as the test set, and validation comes out of train.")
    return with_validation(name, classes, examples["train"], test, val_fraction, split_seed, notes, skipped)


def _subfolders(folder: Path) -> list[Path]:
    return sorted((f for f in folder.iterdir() if f.is_dir() and not f.name.startswith(".")), key=lambda f: f.name)


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
            for parent, folders, names in os.walk(folder / name)
            for path in map(Path(parent).joinpath, names)
            if is_image_name(path)
        )
        files += here
        labels += [label] * len(here)
    return files, labels


def _usable(files: list[Path], labels: list[int], skipped: dict[Path, str]) -> Examples:
    kept = [i for i, file in enumerate(files) if file not in skipped]
    return Examples([files[i] for i in kept], np.array([labels[i] for i in kept], dtype=np.int64))


def _require_every_class(examples: Examples, classes: list[str], source: Path, skipped: dict[Path, str]) -> None:
    counts = np.bincount(examples.labels, minlength=len(classes))
    if len(classes) < 2:
        raise UserError(f"{source} has a single class, {classes[0]!r}: there is nothing to tell apart.")
    for name, count in zip(classes, counts, strict=True):
        if count == 0:
            because = next((f"; {file.name} {why}" for file, why in skipped.items()), "")
            raise UserError(
                f"Class {name!r} of {source} has no usable image{because}: add images or take the class out."
            )
