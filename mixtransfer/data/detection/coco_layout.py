"""Finding the parts of a dataset of COCO files, and the folders of their images."""

import re
from collections.abc import Sequence
from pathlib import Path

from mixtransfer.data.detection.coco import CocoFile, read_coco
from mixtransfer.data.detection.listed import ListedBoxes, ListedDetection
from mixtransfer.data.listed import SPLIT_NAMES
from mixtransfer.errors import UserError

COCO_FILES = ("annotations/*.json", "*/_annotations.coco.json")


def coco_files(root: Path, patterns: Sequence[str] = COCO_FILES) -> list[Path]:
    """The COCO files of a folder, in COCO's layout or Roboflow's.

    Where some are called ``instances_…``, as COCO's own, the others (captions, keypoints) are left alone.
    """
    for pattern in patterns:
        if files := sorted(path for path in root.glob(pattern) if not path.name.startswith(".")):
            return [path for path in files if path.name.startswith("instances_")] or files
    return []


def list_coco(root: Path, files: list[Path], faults: list[str] | None = None) -> ListedDetection:
    """List the COCO files of a folder, told apart by "train", "val" or "test" in their name or folder.

    Args:
        root: The folder; images lie in it, in ``train2017/``, ``train/``, ``images/train/``, ``images/`` or the like,
            or beside their file.
        files: One file for each part, or a single one, which may have any name.
        faults: See ``read_coco``.

    Raises:
        UserError: Files cannot be told apart, are not COCO or do not fit together, or their images are not found.
    """
    named: dict[str, Path] = {}
    for path in files:
        part = _part(path, root)
        if part is None and len(files) > 1:
            raise UserError(
                f"{path} says neither train, val nor test in its name: rename it, or give one file as DATA."
            )
        if (part or "all") in named:
            raise UserError(
                f"{path} and {named[part or 'all']} both are {part} by their names: rename one, or give one as DATA."
            )
        named[part or "all"] = path
    return _combined(root.name, root, {part: read_coco(path, faults) for part, path in named.items()}, root)


def list_coco_file(path: Path, faults: list[str] | None = None) -> ListedDetection:
    """List a single COCO file; its images lie beside it or in a folder beside it. For ``faults`` see ``read_coco``.

    Raises:
        UserError: It is not COCO, or its images are not found.
    """
    root = path.parent.parent if path.parent.name == "annotations" else path.parent
    return _combined(path.stem, path, {"all": read_coco(path, faults)}, root)


def _combined(name: str, source: Path, files: dict[str, CocoFile], root: Path) -> ListedDetection:
    """Parts with the categories of the training part."""
    first = files.get("all") or files.get("train") or next(iter(files.values()))
    ids = sorted(first.categories)
    parts = {}
    for part, file in files.items():
        for category in {annotation["category_id"] for annotation in file.annotations}:
            used, known = file.categories[category], first.categories.get(category)
            if used != known:
                has = f"has it as {known!r}" if known else "does not have it"
                raise UserError(f"{file.path} uses category {category} as {used!r}, but {first.path} {has}.")
        parts[part] = _with_images(file, part, root, ids)
    return ListedDetection(name, source, [first.categories[i] for i in ids], ids, parts)


def _with_images(file: CocoFile, part: str, root: Path, category_ids: list[int]) -> ListedBoxes:
    """The part with its files in that folder of the usual ones that holds most of a sample of them."""
    subfolders = [
        file.path.stem.removeprefix("instances_"),
        *(word for word, p in SPLIT_NAMES.items() if p == part),
        "",
    ]
    bases = [root, root / "images", file.path.parent, file.path.parent / "images"]
    folders = list(dict.fromkeys(base / subfolder for subfolder in subfolders for base in bases))
    names = [image["file_name"] for image in file.images]
    sample = names[:: max(1, len(names) // 20)]

    def found(folder: Path) -> int:
        return sum((folder / name).is_file() for name in sample)

    best = max(folders, key=found)
    if names and not found(best):
        raise UserError(
            f"The images of {file.path} ({names[0]} …) are not found: put them beside it, or into {root / 'images'}."
        )
    return file.listed(best, category_ids)


def _part(path: Path, root: Path) -> str | None:
    """The part that a file's name says, or that of its folder in Roboflow's layout."""
    name = path.stem if path.parent in (root, root / "annotations") else path.parent.name
    words = re.findall(r"[a-z]+", name.lower())
    return next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), None)
