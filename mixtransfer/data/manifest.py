"""Manifests: a table with one image a row, alone or beside the images as Hugging Face's imagefolder has it."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from mixtransfer.data.confine import inside
from mixtransfer.data.division import counted
from mixtransfer.data.listed import SPLIT_NAMES, ListedImages
from mixtransfer.data.lookup import Lookup, is_file, is_foreign, shown, some
from mixtransfer.data.parts import part_of_path
from mixtransfer.data.table import Table, names_in_card, names_of_numbers, read_table
from mixtransfer.data.tree import Tree
from mixtransfer.errors import UserError

METADATA = ("metadata.jsonl", "metadata.csv")
# What a column may be called; the first of them needs no word.
COLUMNS = {
    "path": ("path", "file_name", "filename", "image_path", "image"),
    "label": ("label", "class", "class_name", "category"),
    "split": ("split",),
    "group": ("group",),
}


def metadata_files(tree: Tree) -> list[str]:
    """The files beside a folder's images that say what each shows: ``metadata.csv`` or ``.jsonl``."""
    return [name for name in tree.having(*METADATA) if PurePosixPath(name).name in METADATA and name.count("/") < 3]


def labelled_metadata(tree: Tree) -> list[Table]:
    """The tables of those of ``metadata_files`` that have a class for each image; if there are such, also those of a
    test part whose classes are not known."""
    tables = [table for name in metadata_files(tree) if "file_name" in (table := read_table(tree.root / name)).columns]
    if not any(map(_has_labels, tables)):
        return []
    tables = [table for table in tables if _has_labels(table) or _is_of_test(table, tree)]
    of_folder: dict[Path, Table] = {}
    for table in tables:
        other = of_folder.setdefault(table.path.parent, table)
        if other is not table:
            raise UserError(f"{other.path} and {table.path.name} both describe the images there: take one out.")
    return tables


def _has_labels(table: Table) -> bool:
    return any(name in table.columns for name in COLUMNS["label"])


def _is_of_test(table: Table, tree: Tree) -> bool:
    return part_of_path(table.path.relative_to(tree.root).parts[:-1]) == "test"


def list_manifest(manifest: Path) -> ListedImages:
    """Read a CSV or ``.jsonl`` file with the columns ``path`` and ``label``, and if there are such ``split`` and
    ``group``: images of one group, as those of one patient, stay in one part.

    Paths are relative to the manifest's folder and may not leave it. A path that is not there is looked for as other
    machines and programs write it, see ``Lookup``. Rows of nothing but blanks count as not there.

    Raises:
        UserError: A column or value is missing or wrong; the message names the row.
    """
    table = read_table(manifest)
    listing = _Listing(Tree(manifest.parent))
    rows = list(listing.rows(table))
    if not rows:
        raise UserError(f"{manifest} lists no images.")
    _require_labels(rows)
    splits = {row.split for row in rows}
    if splits != {"all"} and ("all" in splits or "train" not in splits):
        raise UserError(f"{manifest} must name a split (train, val or test) in every row or in none, and some train.")
    return listing.listed(manifest.stem, manifest, rows)


def list_metadata(tree: Tree, tables: Sequence[Table]) -> ListedImages:
    """List a folder of images with metadata, as ``datasets.load_dataset("imagefolder")`` has it for classification.

    Each row has ``file_name``, relative to its metadata file, and a label: a name, or a number whose name stands in
    the ``class_label`` of the dataset's ``README.md``. Parts are the folders that are called so, or a column ``split``.

    Args:
        tables: The metadata files of the folder.

    Raises:
        UserError: A column or value is missing or wrong; the message names the row.
    """
    listing = _Listing(tree)
    names = [table.path.relative_to(tree.root).as_posix() for table in tables]
    rows = [row for table in tables for row in listing.rows(table)]
    if not rows:
        raise UserError(f"{tree.root} lists no images: {some(names)} has no row.")
    split = any(row.split != "all" for row in rows)
    for row in rows if not split else ():
        row.split = part_of_path(row.path.relative_to(tree.root).parts[:-1]) or "all"
    found = {row.split for row in rows}
    if len(found) > 1 and ("all" in found or "train" not in found):
        one = next((row for row in rows if row.split == "all"), rows[0])
        raise UserError(
            f"{tree.root} has images in the folders of parts and others such as {one.path.name}, which are in none, or "
            "no training part: move them, or add a column split to every row."
        )
    listing.notes += [
        f"Classes and files are those of {some(names)}, whatever the folders are called (--layout class reads those)."
    ]
    known = {row.path for row in rows}
    others = [name for name in tree.images if tree.root / name not in known]
    tested = [row for row in rows if row.split == "test"]
    unlabelled = len(tested) if all(row.label == "" for row in tested) else 0
    if "train" in found and not tested:  # there may be a part that no metadata speaks of
        of_test = {name for name in others if part_of_path(PurePosixPath(name).parts[:-1]) == "test"}
        others = [name for name in others if name not in of_test]
        unlabelled = len(of_test)
    if unlabelled:
        listing.notes.append(f"Left out: {counted(unlabelled, 'test image')} without a label.")
        rows = [row for row in rows if row.split != "test"]
    _require_labels(rows)
    if others:
        listing.notes.append(f"Left out: {counted(len(others))} that {some(names, 1)} does not name ({some(others)}).")
    return replace(listing.listed(tree.root.name, tree.root, rows), has_unlabelled_test=bool(unlabelled))


def _require_labels(rows: Sequence["_Row"]) -> None:
    if missing := next((row for row in rows if row.label == ""), None):
        raise UserError(f"{missing.where}: the label is missing.")


@dataclass
class _Row:
    where: str
    path: Path
    label: str | int  # "" if it has none
    split: str


class _Listing:
    """Rows of one data set on the way to its images."""

    def __init__(self, tree: Tree):
        self.tree = tree
        self.lookup = Lookup(tree)
        self.groups: dict[Path, str] = {}
        self.notes: list[str] = []
        self.label = "label"  # the name of its column

    def rows(self, table: Table) -> Iterator[_Row]:
        """The rows of a table whose paths are relative to its folder."""
        places = self._places(table)
        for line, values in table.rows:
            yield self._row(table, line, {key: values.get(name) for key, name in places.items()})

    def listed(self, name: str, source: Path, rows: Sequence[_Row]) -> ListedImages:
        """Classes in the order of their names, those that are numbers by number."""
        card = names_in_card(self.tree.root / "README.md", self.label)
        if card and all(re.fullmatch(r"\d{1,9}", str(row.label)) for row in rows):
            for row in rows:  # numbers in CSV
                row.label = int(row.label)
        labels = {row.label for row in rows}
        titles, notes = names_of_numbers({label for label in labels if isinstance(label, int)}, card, "Classes")
        if len(set(titles.values())) < len(titles):
            twice = max(titles.values(), key=list(titles.values()).count)
            raise UserError(f"{self.tree.root / 'README.md'} calls two classes {twice!r}: rename one.")
        classes = [titles[number] for number in sorted(titles)]
        classes += sorted(label for label in labels if isinstance(label, str) and label not in classes)
        index = {name: i for i, name in enumerate(classes)}
        splits = sorted({row.split for row in rows})
        parts: dict[str, tuple[list[Path], list[int]]] = {}
        for split in splits:
            own = [row for row in rows if row.split == split]
            numbers = [index[titles[row.label] if isinstance(row.label, int) else row.label] for row in own]
            parts["all" if splits == ["train"] else split] = [row.path for row in own], numbers
        return ListedImages(name, source, classes, parts, self.groups, [*self.notes, *notes, *self.lookup.notes()])

    def _places(self, table: Table) -> dict[str, str]:
        """The name that each of the known columns has in a table."""
        if twice := next((one for one, n in Counter(table.columns).items() if n > 1 and _is_known(one)), None):
            raise UserError(f"{table.path} has the column {twice} twice in its first line: take one out.")
        places = {}
        for key, names in COLUMNS.items():
            found = [name for name in names if name in table.columns]
            if key in found:
                found = [key]
            if len(found) > 1:
                raise UserError(f"{table.path} has the columns {' and '.join(found)}: call the one to read {key!r}.")
            if found:
                places[key] = found[0]
        if "path" not in places or not ("label" in places or _is_of_test(table, self.tree)):
            raise UserError(f"{table.path} needs the columns path and label; it has {', '.join(table.columns)!r}.")
        self.label = places.get("label", self.label)
        renamed = [f"{name} as {key}" for key, name in places.items() if name not in (key, "file_name")]
        if renamed and (note := f"Columns are read as: {', '.join(renamed)}.") not in self.notes:
            self.notes.append(note)
        return places

    def _row(self, table: Table, line: int, values: dict[str, Any]) -> _Row:
        where = table.where(line)
        path, split, group = (_text(where, key, values.get(key)) for key in ("path", "split", "group"))
        if not path:
            raise UserError(f"{where}: the path is missing.")
        label = _label(where, values.get("label"))
        try:
            full = self._find(table.path.parent, path)
        except ValueError as error:
            raise UserError(f"{where}: {shown(path)!r} {error}; move the manifest above the images.") from error
        if split and split.lower() not in SPLIT_NAMES:
            raise UserError(f"{where}: the split is {split!r}; it must be train, val or test.")
        if group and self.groups.setdefault(full, group) != group:
            raise UserError(f"{where}: {path!r} is in the group {group!r}, and above in {self.groups[full]!r}.")
        return _Row(where, full, label, SPLIT_NAMES[split.lower()] if split else "all")

    def _find(self, folder: Path, path: str) -> Path:
        """The file that a path means, or where it should be, as a path below the root; a link stays one.

        Raises:
            ValueError: The path leads out of the root, is none, or could be several files; the message is a reason.
        """
        root, direct = self.tree.root, None
        written = os.fspath(folder.absolute() / path)
        try:
            direct = inside(root, written)
            if is_file(direct):
                return _as_written(root, folder / path, direct)
        except ValueError:
            if not is_foreign(path):
                raise
        if found := self.lookup.find(path, folder):
            inside(root, os.fspath(found.absolute()))
            return found
        return _as_written(root, folder / path, direct or inside(root, written))


def _as_written(root: Path, path: Path, real: Path) -> Path:
    """What ``path`` means, below ``root``: as it is written, unless that leads elsewhere than to ``real``."""
    plain = Path(os.path.normpath(path))
    if plain.is_relative_to(root) and plain.resolve() == real:
        return plain
    return root / real.relative_to(root.resolve())


def _is_known(column: str) -> bool:
    return any(column in names for names in COLUMNS.values())


def _text(where: str, key: str, value: Any) -> str:
    if value is None:
        return ""
    text = str(value).strip()
    if isinstance(value, str | int) and not any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text):
        return text
    raise UserError(f"{where}: the {key} is {shown(str(value)[:40])!r}, which is no text.")


def _label(where: str, value: Any) -> str | int:
    if type(value) is int and abs(value) < 2**62:
        return value
    if isinstance(value, list):
        raise UserError(f"{where} has a list of labels: an image has one class here.")
    return unicodedata.normalize("NFC", _text(where, "label", value))
