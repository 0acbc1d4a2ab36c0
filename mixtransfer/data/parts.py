"""Which part of a dataset a folder's or a file's name says."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from mixtransfer.data.listed import SPLIT_NAMES

WORDS = {**SPLIT_NAMES, "trainval": "train", "dev": "val", "minival": "val"}
# What may stand beside such a word in the name of a folder that is a part and nothing else.
NEUTRAL = frozenset("set sets data dataset image images img imgs obj split part folder".split())  # noqa: SIM905

OF_IMAGES = ("", "image", "images", "img", "imgs", "jpegimages", "data", "obj_train_data", "obj_valid_data")


def part_of_file(name: str) -> str | None:
    """The part that one of the words of a file's name says: ``instances_train2017``, ``BCCD-val``."""
    return next((WORDS[word] for word in _words(name) if word in WORDS), None)


def part_of_folder(name: str) -> str | None:
    """The part that a folder's name is: ``valid``, ``training_set``, ``TestImages``; but not ``train station``."""
    words = [word for word in _words(name) if word not in NEUTRAL]
    return WORDS.get(words[0]) if len(words) == 1 else None


def is_of_part_or_images(folder: str) -> bool:
    """Whether a folder's name is that of a part, or says nothing but that images are in it."""
    return bool(part_of_folder(folder)) or folder.lower() in OF_IMAGES


def part_of_path(folders: Sequence[str]) -> str | None:
    """The part that the first of these folders that is one is."""
    return next((part for part in map(part_of_folder, folders) if part), None)


def by_folder(files: Sequence[str]) -> dict[str, list[str]]:
    """Files below a dataset's folder, by the part that a folder above each is; all are "all" if none is any.

    Raises:
        ValueError: Only some lie in folders of parts; the message is a reason.
    """
    parts: dict[str | None, list[str]] = {}
    for file in files:
        parts.setdefault(part_of_path(PurePosixPath(file).parts[:-1]), []).append(file)
    if None not in parts or len(parts) == 1:
        return {part or "all": members for part, members in parts.items()}
    known = " and ".join(sorted(part for part in parts if part))
    raise ValueError(f"{parts[None][0]} lies in no part's folder, while others lie in those of {known}")


def _words(name: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)]
