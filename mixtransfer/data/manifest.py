"""Manifests: a table with one image a row, alone or beside the images; see ``metadata_tables``."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from mixtransfer.data.confine import inside
from mixtransfer.data.division import counted
from mixtransfer.data.label_columns import (
    ONE,
    SEVERAL,
    LabelColumns,
    Labels,
    all_names,
    as_text,
    check_other_marks,
    check_separator,
    label_columns,
    labels_of,
    several_labels_note,
)
from mixtransfer.data.labels import indicators
from mixtransfer.data.listed import SPLIT_NAMES, ListedImages
from mixtransfer.data.lookup import Lookup, is_file, is_foreign, shown, some
from mixtransfer.data.metadata_tables import COLUMNS, KNOWN, is_of_test
from mixtransfer.data.parts import part_of_path
from mixtransfer.data.table import Table, names_in_card, names_of_numbers, read_table
from mixtransfer.data.tree import Tree
from mixtransfer.errors import UserError

_A_LABEL = {False: "one label a row", True: "several labels a row"}


def list_manifest(manifest: Path) -> ListedImages:
    """Read a CSV or ``.jsonl`` file with the columns ``path`` and ``label``, and if there are such ``split`` and
    ``group``: images of one group, as those of one patient, stay in one part.

    In the place of ``label`` several labels may stand in ``labels``, with a ``;`` between (in JSON a list), or in a
    column of 0 and 1 for each class.

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
    rows, unlabelled = _without_unlabelled_test(rows, listing)
    _require_labels(rows)
    splits = {row.split for row in rows}
    if splits != {"all"} and (blank := next((row for row in rows if row.split == "all"), None)):
        raise UserError(f"{blank.where}: the split is missing: write train, val or test in every row, or in none.")
    if splits != {"all"} and "train" not in splits:
        raise UserError(f"{manifest} has no row whose split is train.")
    return replace(listing.listed(manifest.stem, manifest, rows), has_unlabelled_test=unlabelled)


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
    unlabelled = len(tested) if all(row.label in ("", ()) for row in tested) else 0
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


def _without_unlabelled_test(rows: list["_Row"], listing: "_Listing") -> tuple[list["_Row"], bool]:
    """Rows without a test part that has no labels, as contests give it, and whether there is one.

    Of one label a row that is asked for by ``_require_labels``: it may have been forgotten.
    """
    tested = [row for row in rows if row.split == "test"]
    if not tested or any(row.label != () for row in tested):
        return rows, False
    listing.notes.append(f"Left out: {counted(len(tested), 'test image')} without a label.")
    return [row for row in rows if row.split != "test"], True


def _require_labels(rows: Sequence["_Row"]) -> None:
    if missing := next((row for row in rows if row.label == ""), None):
        raise UserError(f"{missing.where}: the label is missing.")


@dataclass
class _Row:
    where: str
    path: Path
    label: Labels
    split: str


class _Listing:
    """Rows of one data set on the way to its images."""

    def __init__(self, tree: Tree):
        self.tree = tree
        self.lookup = Lookup(tree)
        self.groups: dict[Path, str] = {}
        self.notes: list[str] = []
        self.label = "label"  # the name of its column
        self.multilabel: bool | None = None  # until a table says
        self.named: set[str] = set()  # labels that columns are called after, whether an image has them or not

    def rows(self, table: Table) -> Iterator[_Row]:
        """The rows of a table whose paths are relative to its folder."""
        places, labels = self._places(table)
        for line, values in table.rows:
            own = {key: values.get(name) for key, name in places.items()}
            yield self._row(table, line, own, labels.read(table.where(line), values))

    def listed(self, name: str, source: Path, rows: Sequence[_Row]) -> ListedImages:
        """Classes in the order of their names, those that are numbers by number."""
        card = names_in_card(self.tree.root / "README.md", self.label)
        labels = self.named | all_names(row.label for row in rows)
        if card and all(re.fullmatch(r"\d{1,9}", str(label)) for label in labels):
            for row in rows:  # numbers in CSV
                row.label = tuple(map(int, row.label)) if isinstance(row.label, tuple) else int(row.label)
            labels = set(map(int, labels))
        titles, notes = names_of_numbers({label for label in labels if isinstance(label, int)}, card, "Classes")
        if len(set(titles.values())) < len(titles):
            twice = max(titles.values(), key=list(titles.values()).count)
            raise UserError(f"{self.tree.root / 'README.md'} calls two classes {twice!r}: rename one.")
        classes = [titles[number] for number in sorted(titles)]
        classes += sorted(label for label in labels if isinstance(label, str) and label not in classes)
        if not classes:
            raise UserError(f"{source} has no label in any row.")
        written = [(row.where, row.label) for row in rows]
        check_separator(written, classes, bool(self.multilabel))
        if self.multilabel and not self.named:
            check_other_marks(written, classes)
        shown = [[titles[one] if isinstance(one, int) else one for one in labels_of(row.label)] for row in rows]
        if self.multilabel:
            notes = [*notes, several_labels_note(shown, classes)]
        splits = sorted({row.split for row in rows})
        parts: dict[str, tuple[list[Path], np.ndarray]] = {}
        for split in splits:
            own = [i for i, row in enumerate(rows) if row.split == split]
            numbers = indicators([shown[i] for i in own], classes)
            parts["all" if splits == ["train"] else split] = (
                [rows[i].path for i in own],
                numbers if self.multilabel else numbers.argmax(1),
            )
        return ListedImages(name, source, classes, parts, self.groups, [*self.notes, *notes, *self.lookup.notes()])

    def _places(self, table: Table) -> tuple[dict[str, str], LabelColumns]:
        """The name that each of the known columns has in a table, and where its labels are."""
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
        labels = label_columns(table, KNOWN)
        of_test = is_of_test(table, self.tree)
        if "path" not in places or not (labels.column or labels.binary or of_test):
            raise UserError(
                f"{table.path} needs the columns path and label (or labels, or one of 0 and 1 for each); it has "
                f"{', '.join(table.columns)!r}."
            )
        if labels.column or labels.binary:
            if self.multilabel not in (None, labels.multilabel):
                here, there = _A_LABEL[labels.multilabel], _A_LABEL[not labels.multilabel]
                raise UserError(f"{table.path} has {here}, and another table of {self.tree.root} {there}.")
            self.multilabel, self.label = labels.multilabel, labels.column or self.label
            self.named.update(labels.binary.values())
        renamed = [f"{name} as {key}" for key, name in places.items() if name not in (key, "file_name")]
        plain = "labels" if labels.multilabel else "label"
        renamed += [f"{labels.column} as {plain}"] if labels.column not in (None, "label", plain) else []
        if renamed and (note := f"Columns are read as: {', '.join(renamed)}.") not in self.notes:
            self.notes.append(note)
        if labels.binary and (left := [one for one in table.columns if one not in (*KNOWN, *labels.binary)]):
            named = some([one or "one without a name" for one in left])
            self.notes.append(f"Left out: columns of {table.path.name} without 0 or 1 ({named}).")
        return places, labels

    def _row(self, table: Table, line: int, values: dict[str, Any], label: Labels) -> _Row:
        where = table.where(line)
        path, split, group = (as_text(where, key, values.get(key)) for key in ("path", "split", "group"))
        if not path:
            raise UserError(f"{where}: the path is missing.")
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
    return column in (*KNOWN, *ONE, *SEVERAL)
