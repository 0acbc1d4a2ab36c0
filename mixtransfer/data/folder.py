"""Image folders: a folder of class folders, already split or not."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from mixtransfer.data import FolderLayout
from mixtransfer.data.division import counted
from mixtransfer.data.layout import Folder, recognize
from mixtransfer.data.listed import ListedImages
from mixtransfer.data.lookup import some
from mixtransfer.data.metadata_tables import metadata_files
from mixtransfer.data.tree import PHOTOGRAPHS, Tree
from mixtransfer.errors import UserError


def list_folder(tree: Tree, layout: FolderLayout = "auto") -> ListedImages:
    """List an image folder.

    Layouts: ``train/val/test``, ``train/test`` (validation comes out of train), ``train/val`` (val is then the
    test set, and validation comes out of train), or class folders at the top (split by class with a seed).

    Args:
        layout: What the levels are, where that can be seen in two ways; see ``recognize``.

    Raises:
        UserError: There are no class folders, or no images, or two readings.
    """
    root = tree.root
    if tree.closed:
        raise UserError(f"The folder {root / tree.closed[0]} may not be read: change its permissions or take it out.")
    packed = tree.having(".parquet", ".tar")
    if packed and not tree.images:
        raise UserError(f"{root} holds {some(packed)}, and no image files: give it as hf:{root}.")
    read = recognize(root, Folder.of(tree), layout)
    tops = read.parts.get("all") or read.parts["train"]
    classes = sorted({_class_name(folder.name) for top in tops for folder in top.folders})
    if not classes and tree.links:
        links = f"{counted(len(tree.links), 'link')} to folders outside of it ({some(tree.links)})"
        raise UserError(
            f"{root} holds no class folders but {links}, which are not followed: give the folder that they lead to, or "
            "copy the images."
        )
    if not classes and (tables := metadata_files(tree)):
        raise UserError(
            f"{root} holds no class folders, and {some(tables)} has no column that is a class: call one label, or put "
            "the images of each class into a folder named after it."
        )
    if not classes:
        raise UserError(
            f"{root} holds no class folders: put the images of each class into a folder named after it "
            f"({root.name}/cat/1.jpg), or give a CSV manifest."
        )
    for name in classes:
        if any("\ud800" <= letter <= "\udfff" for letter in name):  # how Python stands for bytes that are no UTF-8
            raise UserError(f"The name of the class folder {ascii(name)} in {root} is not UTF-8: rename it.")
    parts = {part: _files_of(root, folders, classes) for part, folders in read.parts.items()}
    if not any(files for files, _ in parts.values()):
        raise UserError(f"{root} holds no images: none of its class folders has a file with an image's name.")
    folders = [folder for tops in read.parts.values() for top in tops for folder in top.walk()]
    known = {file for files, _ in parts.values() for file in files}
    told = {name for top in read.left for folder in top.walk() for name in folder.images}
    notes = [*read.notes, *_left_out(tree, folders)]
    if loose := [name for name in tree.images if root / name not in known and name not in told]:
        notes.append(f"Left out: {counted(len(loose))} in no class folder ({some(loose)}).")
    return ListedImages(root.name, root, classes, parts, notes=notes, has_unlabelled_test=read.has_unlabelled_test)


def _class_name(folder: str) -> str:
    """The same whether a Mac wrote it, which takes letters apart, or another machine."""
    return unicodedata.normalize("NFC", folder)


def _files_of(root: Path, tops: Sequence[Folder], classes: list[str]) -> tuple[list[Path], np.ndarray]:
    """Files and labels of the class folders in ``tops``."""
    found: dict[str, list[str]] = {name: [] for name in classes}
    for folder in (folder for top in tops for folder in top.folders):
        if (name := _class_name(folder.name)) not in found:
            raise UserError(f"{folder.name} in {root} is a class that the training part does not have.")
        found[name] += [file for below in folder.walk() for file in below.images]
    files = [(root / file, label) for label, name in enumerate(classes) for file in sorted(found[name])]
    return [file for file, _ in files], np.array([label for _, label in files], dtype=np.int64)


def _left_out(tree: Tree, folders: Sequence[Folder]) -> list[str]:
    """Sentences on the files that are no images by their names, and on links."""
    others = [PurePosixPath(file) for folder in folders for file in folder.others]
    notes = []
    if photographs := [file.name for file in others if file.suffix.lower() in PHOTOGRAPHS]:
        count = counted(len(photographs), "photograph")
        notes.append(f"Left out: {count} in formats that are not read ({some(photographs)}).")
    if bare := [file.name for file in others if not file.suffix]:
        notes.append(f"Left out: {counted(len(bare), 'file')} without a suffix that says what it is ({some(bare)}).")
    rest = Counter(file.suffix.lower() for file in others if file.suffix and file.suffix.lower() not in PHOTOGRAPHS)
    if rest:
        kinds = ", ".join(f"{suffix} {count}" for suffix, count in rest.most_common(4)) + (
            " …" if len(rest) > 4 else ""
        )
        what = "that is no image" if rest.total() == 1 else "that are no images"
        notes.append(f"Left out: {counted(rest.total(), 'file')} {what} ({kinds}).")
    if tree.runs:
        notes.append(f"Left out: {counted(len(tree.runs), 'folder')} that mixtransfer has written ({some(tree.runs)}).")
    if tree.links:
        count = counted(len(tree.links), "link")
        notes.append(f"Left out: {count} to folders outside of the data ({some(tree.links)}).")
    return notes
