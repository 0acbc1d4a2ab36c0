"""CSV manifests: a file with one image a row."""

import csv
from pathlib import Path

from mixtransfer.data.confine import inside
from mixtransfer.data.listed import SPLIT_NAMES, ListedImages
from mixtransfer.errors import UserError


def list_manifest(manifest: Path) -> ListedImages:
    """Read a CSV file with the columns ``path`` and ``label``, and if there are such ``split`` and ``group``: images of
    one group, as those of one patient, stay in one part.

    Paths are relative to the manifest's folder and may not leave it.

    Raises:
        UserError: A column or value is missing or wrong; the message names the row.
    """
    try:
        text = manifest.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{manifest} cannot be read as UTF-8 text: {error}.") from error
    try:
        reader = csv.DictReader(text.splitlines(), strict=True)
        columns = reader.fieldnames or []
        if not {"path", "label"} <= set(columns):
            raise UserError(f"{manifest} needs the columns path and label; its first line has {', '.join(columns)!r}.")
        groups: dict[Path, str] = {}
        rows = [_read_row(manifest, reader.line_num, row, groups) for row in reader]
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
    return ListedImages(manifest.stem, manifest, classes, parts, groups)


def _read_row(manifest: Path, line: int, row: dict[str, str | None], groups: dict[Path, str]) -> tuple[Path, str, str]:
    """Path, label and split of a row; its group, if it has one, goes into ``groups``."""
    where = f"{manifest}, line {line}"
    path, label, split, group = ((row.get(key) or "").strip() for key in ("path", "label", "split", "group"))
    if not path or not label:
        raise UserError(f"{where}: the {'path' if not path else 'label'} is missing.")
    try:
        full = inside(manifest.parent, path)
    except ValueError as error:
        raise UserError(f"{where}: {path!r} {error}; move the manifest above the images.") from error
    if split and split.lower() not in SPLIT_NAMES:
        raise UserError(f"{where}: the split is {split!r}; it must be train, val or test.")
    if group and groups.setdefault(full, group) != group:
        raise UserError(f"{where}: {path!r} is in the group {group!r}, and above in {groups[full]!r}.")
    return full, label, SPLIT_NAMES[split.lower()] if split else "all"
