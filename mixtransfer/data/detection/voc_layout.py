"""Which annotation of Pascal VOC is of which image, and in which part."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from mixtransfer.data.images import IMAGE_SUFFIXES
from mixtransfer.data.listed import SPLIT_NAMES
from mixtransfer.data.lookup import Lookup, shown, some
from mixtransfer.data.parts import by_folder, part_of_path
from mixtransfer.data.text import read_lines
from mixtransfer.data.tree import Tree
from mixtransfer.errors import UserError

# Folders that hold nothing but one half of the pairs, and so say nothing.
HALVES = frozenset("jpegimages images image img imgs annotations annotation xmls xml labels".split())  # noqa: SIM905


def split(tree: Tree, names: Sequence[str]) -> dict[str, list[str]]:
    """The annotation files of each part: by the lists of ``ImageSets/Main``, by folders, or all in one part.

    Args:
        tree: The dataset's folder.
        names: Its annotation files.

    Raises:
        UserError: A list cannot be read or names what is not there, or only some files lie in folders of parts.
    """
    lists: dict[str, Path] = {}
    for name in tree.having(".txt"):
        stem = PurePosixPath(name).stem.lower()
        if not re.fullmatch(r"(.*/)?imagesets/main/[^/]+", name, re.IGNORECASE) or stem not in {
            *SPLIT_NAMES,
            "trainval",
        }:
            continue
        part = SPLIT_NAMES.get(stem, stem)
        if part in lists:
            raise UserError(f"{lists[part]} and {tree.root / name} both are lists of the same part: take one out.")
        lists[part] = tree.root / name
    if "train" not in lists and "trainval" not in lists:
        try:
            return by_folder(names)
        except ValueError as error:
            raise UserError(f"{tree.root}: {error}: move it.") from None
    if "trainval" in lists and not {"train", "val"} <= lists.keys():
        lists |= {"train": lists["trainval"]}
        lists.pop("val", None)
    ends: dict[str, list[str]] = defaultdict(list)
    for name in names:
        ends[_stem(name)].append(name)
    return {part: _listed(tree, lists[part], ends) for part in ("train", "val", "test") if part in lists}


def _listed(tree: Tree, path: Path, ends: Mapping[str, list[str]]) -> list[str]:
    """The annotation file of each line."""
    try:
        lines = [line for line in read_lines(path) if line]
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}).") from error
    found = [_annotation_of(tree, path, line, ends) for line in lines]
    return list(dict.fromkeys(found))


def _annotation_of(tree: Tree, path: Path, line: str, ends: Mapping[str, list[str]]) -> str:
    """A line is a name, blanks and all; it may be quoted, have a suffix, folders before it, or 1 or -1 behind it."""
    quoted = re.fullmatch(r'"(.*)"', line)
    flagged = re.fullmatch(r"(.*\S)\s+(-1|0|1)", line)
    for name in (line, quoted and quoted[1], flagged and flagged[1]):
        if not name:
            continue
        name = name.replace("\\", "/")
        suffix = PurePosixPath(name).suffix.lower()
        for one in (name, name[: -len(suffix)] if suffix in {*IMAGE_SUFFIXES, ".xml"} else name):
            words = [word for word in one.split("/") if word not in ("", ".")]
            if not words or ".." in words or one.startswith("/"):
                continue
            near = [name for name in ends.get(_stem(words[-1] + ".xml"), []) if _ends_as(name, words)]
            near = [name for name in near if PurePosixPath(name).stem == words[-1]] or near
            if len(near) > 1:
                raise UserError(
                    f"{path} names {shown(line)!r}, which could be {near[0]} or {near[1]}: say which folder."
                )
            if near:
                return near[0]
    if "/" in line or "\\" in line or "\0" in line or line in (".", ".."):
        raise UserError(f"{path} names {shown(line)!r}, which must be the name of an image in JPEGImages.")
    folder = next((name for name in tree.folders if name.lower() == "annotations"), "Annotations")
    return f"{folder}/{line}.xml"  # which is missing, and said to be


def _ends_as(name: str, words: Sequence[str]) -> bool:
    """Whether an annotation's path ends with these folders, as far as they are not only of one half."""
    folders = [word for word in words[:-1] if word.lower() not in HALVES]
    own = [word for word in PurePosixPath(name).parts[:-1] if word.lower() not in HALVES]
    return not folders or own[-len(folders) :] == folders


def pair(tree: Tree, filenames: Mapping[str, str]) -> tuple[dict[str, Path], list[str]]:
    """The image of each annotation file.

    It is the image of the file's own name: beside it, in the same folder but for its half (``images/train`` and
    ``annotations/train``), or anywhere, if there is only one and it is in no other part. Otherwise it is the one that
    the annotation itself names.

    Args:
        tree: The dataset's folder.
        filenames: Annotation file → the image's name that stands in it.

    Returns:
        Annotation file → image, which may be missing, and notes.

    Raises:
        UserError: Several images could be one annotation's, or an image has several annotations.
    """
    stems: dict[str, list[str]] = defaultdict(list)
    for image in tree.images:
        stems[_stem(image)].append(image)
    lookup = Lookup(tree)
    images, others = {}, []
    for name, said in filenames.items():
        near = _nearest(name, stems.get(_stem(name), []))
        if len(near) > 1:
            near = [image for image in near if PurePosixPath(image).name == said] or near
        if len(near) > 1:
            raise UserError(
                f"{tree.root / name} could be of {shown(near[0])} or {shown(near[1])}: rename one, or take it out."
            )
        path = tree.root / near[0] if near else None
        is_other = said and _stem(said.replace("\\", "/")) != _stem(name)
        if path and is_other:
            others.append(f"{name}: {said}")
        if path is None and is_other:
            part = part_of_path(PurePosixPath(name).parts[:-1]) or "all"
            try:
                path = lookup.find(said, (tree.root / name).parent, part, elsewhere=True)
            except ValueError as error:
                raise UserError(f"{tree.root / name}: its image {shown(said)} {error}: rename one.") from None
        images[name] = path or _expected(tree, name)
    owners: dict[Path, str] = {}
    for name, path in images.items():
        if (other := owners.setdefault(path, name)) != name:
            raise UserError(f"{tree.root / other} and {tree.root / name} both are of {path.name}: take one out.")
    notes = lookup.notes()
    if others:
        notes.append(
            f"Annotations that name another image than the one they are called after, which holds: {len(others)} "
            f"({some(others, 1)})."
        )
    return images, notes


def _nearest(name: str, images: Sequence[str]) -> list[str]:
    """Those of the images of a name that lie nearest."""
    own = PurePosixPath(name).parts[:-1]
    images = [image for image in images if PurePosixPath(image).stem == PurePosixPath(name).stem] or images
    same = [image for image in images if PurePosixPath(image).parts[:-1] == own]
    if same:
        return same
    place, part = _place(own), part_of_path(own)
    same = [image for image in images if _place(PurePosixPath(image).parts[:-1]) == place]
    return same or [image for image in images if part_of_path(PurePosixPath(image).parts[:-1]) == part]


def _place(folders: Sequence[str]) -> tuple[str, ...]:
    return tuple(folder for folder in folders if folder.lower() not in HALVES)


def _expected(tree: Tree, name: str) -> Path:
    """Where the image of an annotation would be, if it were there."""
    folders = {folder.lower(): folder for folder in tree.folders}
    folder = next((folders[half] for half in ("jpegimages", "images") if half in folders), "")
    return tree.root / (folder or PurePosixPath(name).parent) / f"{PurePosixPath(name).stem}.jpg"


def _stem(name: str) -> str:
    return unicodedata.normalize("NFC", PurePosixPath(name).stem).casefold()
