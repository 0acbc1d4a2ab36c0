"""Finding the parts of a dataset of COCO files, and the images of each."""

import re
from pathlib import Path

from mixtransfer.data.detection.coco import CocoFile, read_coco
from mixtransfer.data.detection.listed import ListedDetection
from mixtransfer.data.listed import SPLIT_NAMES
from mixtransfer.data.lookup import Lookup, is_foreign, shown, some
from mixtransfer.data.parts import part_of_file, part_of_path
from mixtransfer.data.tree import Tree
from mixtransfer.errors import UserError

ROBOFLOW = "_annotations.coco.json"
PLACES = (r"annotations?/[^/]+\.json", r"[^/]+\.json", r"[^/]+/[^/]+\.json", r"[^/]+/annotations?/[^/]+\.json")


def coco_files(tree: Tree) -> list[str]:
    """The COCO files of a folder: in ``annotations/``, in the folder itself, or in those of its parts.

    Where some are called ``instances_…``, as COCO's own, the others (captions, keypoints) are left alone.
    """
    candidates = [name for name in tree.having(".json") if not name.endswith(ROBOFLOW)]
    for place in PLACES:
        here = [name for name in candidates if re.fullmatch(place, name, re.IGNORECASE)]
        files = [name for name in here if is_coco(tree.root / name)]
        if files:
            # What is called as a part that nothing else is, is meant to be it: the reader says what it lacks.
            known = {_part(name) for name in files}
            files = sorted({*files, *(name for name in here if _part(name) not in {None, *known})})
            return [name for name in files if Path(name).name.startswith("instances_")] or files
    return []


def roboflow_files(tree: Tree) -> list[str]:
    """The COCO files of a folder in Roboflow's layout: one in the folder of each part, or in the folder itself."""
    return [name for name in tree.having(ROBOFLOW) if name.count("/") < 2]


def is_coco(path: Path) -> bool:
    """Whether a file is COCO ground truth by the names that occur in it, or is empty of names altogether."""
    try:
        data = path.read_bytes()
    except OSError:
        return True  # the reader says why
    return all(word in data for word in (b'"images"', b'"annotations"', b'"categories"'))


def list_coco(tree: Tree, names: list[str], faults: list[str] | None = None) -> ListedDetection:
    """List the COCO files of a folder, told apart by "train", "val" or "test" in their name or folder.

    Args:
        tree: The folder; images lie in it, in ``train2017/``, ``train/``, ``images/train/``, ``images/`` or the like,
            or beside their file.
        names: One file for each part, or a single one, which may have any name.
        faults: See ``read_coco``.

    Raises:
        UserError: Files cannot be told apart, are not COCO or do not fit together, or their images are not found.
    """
    named: dict[str, Path] = {}
    for name in names:
        path, part = tree.root / name, _part(name)
        if part is None and len(names) > 1:
            raise UserError(
                f"{path} says neither train, val nor test in its name: rename it, or give one file as DATA."
            )
        if (part or "all") in named:
            raise UserError(
                f"{path} and {named[part or 'all']} both are {part} by their names: rename one, or give one as DATA."
            )
        named[part or "all"] = path
    files = {part: read_coco(path, faults) for part, path in named.items()}
    return _combined(tree.root.name, tree.root, files, tree)


def list_coco_file(path: Path, faults: list[str] | None = None) -> ListedDetection:
    """List a single COCO file; its images lie beside it or in a folder beside it. For ``faults`` see ``read_coco``.

    Raises:
        UserError: It is not COCO, or its images are not found.
    """
    root = path.parent.parent if path.parent.name.lower() in ("annotations", "annotation") else path.parent
    return _combined(path.stem, path, {"all": read_coco(path, faults)}, Tree(root))


def _combined(name: str, source: Path, files: dict[str, CocoFile], tree: Tree) -> ListedDetection:
    """Parts with the categories of the training part; the others' are known by their names."""
    first = files.get("all") or files.get("train") or next(iter(files.values()))
    notes = [note for file in files.values() for note in file.notes]
    _refuse_twins(files)
    numbers, dropped = _class_numbers(first, {file.categories[i] for file in files.values() for i in file.used})
    if dropped:
        notes.append(f"Categories above others or named as others, which no box has, are no classes: {some(dropped)}.")
    classes = sorted(numbers, key=lambda category: numbers[category])
    parts = {}
    lookup = Lookup(tree)
    for part, file in files.items():
        for number in sorted(file.used):
            category, known = file.categories[number], first.categories.get(number)
            if category not in numbers:
                has = f"has it as {known!r}" if known else "does not have it"
                raise UserError(f"{file.path} uses category {number} as {category!r}, but {first.path} {has}.")
        other = [file.categories[i] for i in sorted(file.used) if numbers[file.categories[i]] != i]
        if other:
            notes.append(f"{part}: Classes of another id than in the training part, told by name: {some(other)}.")
        found = _files(file, part, lookup)
        if len(set(found)) < len(found):
            notes.append(_merged(file, found))
        labels = {i: classes.index(category) for i, category in file.categories.items() if category in numbers}
        parts[part] = file.listed(found, labels)
    notes += lookup.notes()
    return ListedDetection(name, source, classes, [numbers[category] for category in classes], parts, notes=notes)


def _refuse_twins(files: dict[str, CocoFile]) -> None:
    for file in files.values():
        owners: dict[str, int] = {}
        for number in sorted(file.used):
            other = owners.setdefault(file.categories[number], number)
            if other != number:
                raise UserError(
                    f"{file.path} uses the categories {other} and {number}, which are both called "
                    f"{file.categories[number]!r}: rename one, or give both the same id."
                )


def _class_numbers(file: CocoFile, used: set[str]) -> tuple[dict[str, int], list[str]]:
    """The id of each class by its name, and the categories that are none: of two of a name the one that is not used,
    and those above others that no box has.

    Args:
        file: Of the training part.
        used: Names of the categories that boxes of all parts have.
    """
    numbers: dict[str, int] = {}
    dropped = []
    for number in sorted(file.categories, key=lambda number: (number not in file.used, number)):
        category = file.categories[number]
        if (category not in used and _is_root(number, file)) or category in numbers:
            dropped.append(f"{number} {category!r}")
        else:
            numbers[category] = number
    if not numbers:
        raise UserError(f"{file.path} declares no categories but such as are above others.")
    return numbers, dropped


def _is_root(number: int, file: CocoFile) -> bool:
    """Whether a category that no box has is no class: Roboflow's own for the project, or one above others."""
    return number in file.roots or (number == 0 and file.path.name.endswith(ROBOFLOW))


def _merged(file: CocoFile, found: list[Path]) -> str:
    """The sentence on images that are listed more than once.

    Raises:
        UserError: Images of different names are the same file.
    """
    names: dict[Path, str] = {}
    for path, image in zip(found, file.images, strict=True):
        other = names.setdefault(path, image["file_name"])
        if other != image["file_name"]:
            raise UserError(
                f"{file.path}: the images {shown(other)} and {shown(image['file_name'])} are both found as {path}: "
                "put each where its file_name says."
            )
    return f"Images that {file.path.name} lists more than once, with all their boxes: {len(found) - len(names)}."


def _files(file: CocoFile, part: str, lookup: Lookup) -> list[Path]:
    """The file of each image, in that folder of the usual ones that holds most of a sample of them."""
    root = lookup.tree.root
    subfolders = [
        file.path.stem.removeprefix("instances_"),
        *(word for word, p in SPLIT_NAMES.items() if p == part),
        *(folder for folder in lookup.tree.folders if part_of_path([folder]) == part),
        "",
    ]
    inner = ("", "images", "data", "imgs", "JPEGImages")
    bases = [base / folder for base in (root, file.path.parent) for folder in inner]
    folders = list(
        dict.fromkeys(base / subfolder / more for subfolder in subfolders for base in bases for more in ("", "images"))
    )
    names = [image["file_name"] for image in file.images]
    sample = names[:: max(1, len(names) // 20)]

    def found(folder: Path, respelled: bool = False) -> int:
        return sum(lookup.is_there(name, folder, respelled) for name in sample)

    best = max(folders, key=found)
    if not found(best):
        best = max(folders, key=lambda folder: found(folder, respelled=True))
    elsewhere = not found(best, respelled=True)
    files = []
    for name in names:
        try:
            path = lookup.find(name, best, part, elsewhere)
        except ValueError as error:
            raise UserError(f"{file.path}: the image {shown(name)} {error}: say which by its folder.") from None
        if path is None and is_foreign(name):
            raise UserError(
                f"{file.path}: the file_name {shown(name)!r} must be relative to the folder of the images: "
                f"no image in {root} ends so."
            )
        files.append(path or best / name)
    if names and elsewhere and not lookup.by_end and not lookup.respelled:
        raise UserError(
            f"The images of {file.path} ({shown(names[0])} …) are not found: put them beside it, or into "
            f"{root / 'images'}."
        )
    return files


def _part(name: str) -> str | None:
    """The part that a file's name says, or that of a folder above it."""
    *folders, file = name.split("/")
    return part_of_file(Path(file).stem) or part_of_path(folders[::-1])
