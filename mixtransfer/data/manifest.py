"""CSV manifests: a file with one image a row."""

import csv
import io
from pathlib import Path

from mixtransfer.data.confine import inside
from mixtransfer.data.listed import SPLIT_NAMES, ListedImages
from mixtransfer.data.lookup import Lookup, is_file, is_foreign
from mixtransfer.data.text import read_text
from mixtransfer.data.tree import Tree
from mixtransfer.errors import UserError

COLUMNS = ("path", "label", "split", "group")


def list_manifest(manifest: Path) -> ListedImages:
    """Read a CSV file with the columns ``path`` and ``label``, and if there are such ``split`` and ``group``: images of
    one group, as those of one patient, stay in one part.

    Paths are relative to the manifest's folder and may not leave it. A path that is not there is looked for as other
    machines and programs write it, see ``Lookup``. Rows of nothing but blanks count as not there.

    Raises:
        UserError: A column or value is missing or wrong; the message names the row.
    """
    try:
        text = read_text(manifest)
    except (OSError, UnicodeError) as error:
        raise UserError(f"{manifest} cannot be read as UTF-8 text: {error}.") from error
    first = text.partition("\n")[0]
    mark = "," if "," in first else next((mark for mark in ";\t" if mark in first), ",")
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
        header = [name.strip().lower() for name in next(reader, [])]
        places = _places(manifest, header)
        finder = _Finder(manifest)
        groups: dict[Path, str] = {}
        rows = []
        for row in reader:
            if any(map(str.strip, row)):
                where = f"{manifest}, line {reader.line_num}"
                _check_width(where, row, header)
                values = {name: row[i].strip() if i < len(row) else "" for name, i in places.items()}
                rows.append(_read_row(where, values, finder, groups))
    except csv.Error as error:
        raise UserError(f"{manifest} is not a well-formed CSV file: {error}.") from error
    if not rows:
        raise UserError(f"{manifest} lists no images.")
    classes = sorted({label for _, label, _ in rows})
    index = {name: i for i, name in enumerate(classes)}
    splits = sorted({split for _, _, split in rows})
    if splits == ["train"]:
        splits, rows = ["all"], [(path, label, "all") for path, label, _ in rows]
    if splits != ["all"] and ("all" in splits or "train" not in splits):
        raise UserError(f"{manifest} must name a split (train, val or test) in every row or in none, and some train.")
    parts = {
        split: ([p for p, _, s in rows if s == split], [index[label] for _, label, s in rows if s == split])
        for split in splits
    }
    return ListedImages(manifest.stem, manifest, classes, parts, groups, finder.lookup.notes())


def _places(manifest: Path, header: list[str]) -> dict[str, int]:
    """Where each of the known columns is, whatever the capitals and blanks of its name."""
    if twice := [name for name in COLUMNS if header.count(name) > 1]:
        raise UserError(f"{manifest} has the column {twice[0]} twice in its first line: take one out.")
    if not {"path", "label"} <= set(header):
        raise UserError(f"{manifest} needs the columns path and label; its first line has {', '.join(header)!r}.")
    return {name: header.index(name) for name in COLUMNS if name in header}


def _check_width(where: str, row: list[str], header: list[str]) -> None:
    if any(map(str.strip, row[len(header) :])):
        raise UserError(
            f"{where} has {len(row)} values, but the first line has {len(header)} columns: a comma within a value "
            'needs quotes around it, as in "crane, bird".'
        )


class _Finder:
    """Finds the files that a manifest means."""

    def __init__(self, manifest: Path):
        self.folder = manifest.parent
        self.lookup = Lookup(Tree(self.folder))

    def find(self, path: str) -> Path:
        """The file, or where it should be.

        Raises:
            ValueError: The path leads out of the folder, is none, or could be several files; the message is a reason.
        """
        direct = None
        if not is_foreign(path):
            direct = inside(self.folder, path)
            if is_file(direct):
                return direct
        found = self.lookup.find(path, self.folder)
        return inside(self.folder, str(found)) if found else direct or inside(self.folder, path)


def _read_row(where: str, values: dict[str, str], finder: _Finder, groups: dict[Path, str]) -> tuple[Path, str, str]:
    """Path, label and split of a row; its group, if it has one, goes into ``groups``."""
    path, label, split, group = (values.get(key, "") for key in COLUMNS)
    if not path or not label:
        raise UserError(f"{where}: the {'path' if not path else 'label'} is missing.")
    try:
        full = finder.find(path)
    except ValueError as error:
        raise UserError(f"{where}: {path!r} {error}; move the manifest above the images.") from error
    if split and split.lower() not in SPLIT_NAMES:
        raise UserError(f"{where}: the split is {split!r}; it must be train, val or test.")
    if group and groups.setdefault(full, group) != group:
        raise UserError(f"{where}: {path!r} is in the group {group!r}, and above in {groups[full]!r}.")
    return full, label, SPLIT_NAMES[split.lower()] if split else "all"
