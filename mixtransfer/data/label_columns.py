"""What a table's columns say of the labels of images: one a row, several in one column, or a column of 0 and 1 each."""

import ast
import contextlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mixtransfer.data.division import counted
from mixtransfer.data.labels import SEPARATOR
from mixtransfer.data.lookup import shown, some
from mixtransfer.data.table import Table
from mixtransfer.errors import UserError

ONE = ("label", "class", "class_name", "category")  # what a column of one label may be called
SEVERAL = ("labels", "classes", "tags", "categories")
_YES_OR_NO = {
    "0": False, "0.0": False, "false": False, "no": False,
    "1": True, "1.0": True, "true": True, "yes": True,
}  # fmt: skip
_NEARLY = (*_YES_OR_NO, "-1", "-1.0")  # what a column of labels holds that may be meant for no, or for unknown
SHOWN = 20  # names of labels in a note
QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""")
OTHER_MARKS = ("|", ",")  # that people put between labels
_NO_LABEL = ("nan", "null", "n/a", "<na>")  # what programs write where there is nothing

Label = str | int
Labels = Label | tuple[Label, ...]  # of a row: one, "" for none that is known; or several


@dataclass(frozen=True)
class LabelColumns:
    """Where a table has its labels.

    Attributes:
        column: Of one label a row, or of several; None where there are none.
        multilabel: Whether an image may have several.
        binary: Of several labels in columns of 0 and 1: the label of each column, as it is written.
    """

    column: str | None
    multilabel: bool = False
    binary: dict[str, str] = field(default_factory=dict)

    def read(self, where: str, values: dict[str, Any]) -> Labels:
        """The labels of a row.

        Raises:
            UserError: They are none that can be read; the message begins with ``where``.
        """
        if self.binary:
            return tuple(label for name, label in self.binary.items() if yes_or_no(where, name, values.get(name)))
        if self.column is None:
            return () if self.multilabel else ""
        value = values.get(self.column)
        if not self.multilabel:
            return _one(where, value)
        if value is None:
            raise UserError(f"{where}: the labels are missing; an image that shows none of the classes has [].")
        try:
            parts = _parts(value)
        except ValueError:
            raise UserError(f"{where}: {shown(value[:40])!r} is no list: write {SEPARATOR} between labels.") from None
        found = tuple(dict.fromkeys(label for part in parts if (label := _one(where, part)) != ""))
        if nothing := next((one for one in found if str(one).lower() in _NO_LABEL), None):
            raise UserError(
                f"{where}: the label {nothing!r} could be a class, or stand for none: leave the cell empty if the "
                "image shows none of the classes, or else give the class another name."
            )
        return found


def _parts(value: Any) -> list:
    """The labels of a cell, in a list or divided; a list may be written as JSON or Python writes it.

    Raises:
        ValueError: It is nearly a list.
    """
    if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
        for read in (json.loads, _python_list):
            with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
                return read(value)
        if "'" in value or '"' in value:
            raise ValueError(value)
    if isinstance(value, str):
        return value.split(SEPARATOR)
    return value if isinstance(value, list) else [value]


def _python_list(text: str) -> list:
    """A list as Python writes it; a ``ValueError`` if texts stand in it without a comma, as NumPy writes them."""
    found = ast.literal_eval(text)
    if len(QUOTED.findall(text)) != sum(isinstance(one, str) for one in found):
        raise ValueError(text)
    return found


def label_columns(table: Table, known: Sequence[str]) -> LabelColumns:
    """Find the labels of a table.

    Args:
        known: The columns that say something else.

    Raises:
        UserError: They could be in several places.
    """
    found = [name for name in (*ONE, *SEVERAL) if name in table.columns]
    if ("label" in found) != ("labels" in found):  # the plain name needs no word, whatever stands beside it
        found = ["label" if "label" in found else "labels"]
    if len(found) > 1:
        raise UserError(
            f"{table.path} has the columns {' and '.join(found)}: call the one to read label, or labels if an image "
            "may have several, and take the others out."
        )
    if found:
        name = found[0]
        in_lists = table.path.suffix.lower() == ".jsonl" and any(
            isinstance(row.get(name), list) for _, row in table.rows
        )
        multilabel = name in SEVERAL or in_lists
        if multilabel:
            _refuse_one_hot(table, name)
        return LabelColumns(name, multilabel=multilabel)
    return LabelColumns(None, True, binary) if (binary := _binary(table, known)) else LabelColumns(None)


def _refuse_one_hot(table: Table, column: str) -> None:
    """Have lists of a 0 or 1 for each class be a ``UserError``: read as numbers of classes they would be two."""
    try:
        lists = [(line, _parts(row.get(column))) for line, row in table.rows]
    except ValueError:  # the row will be named when it is read
        return
    if lists and all(len(own) > 2 and all(type(one) is int and one in (0, 1) for one in own) for _, own in lists):
        raise UserError(
            f"{table.where(lists[0][0])}: {column} has a 0 or 1 for each class, whose names are not known: list the "
            "names of those that the image shows."
        )


def _binary(table: Table, known: Sequence[str]) -> dict[str, str]:
    """The columns that have 0 or 1 in every row, and the label of each; those that mostly have other things are none.

    Raises:
        UserError: One has something else in some rows, or stands twice.
    """
    titles = dict(zip(table.columns, table.titles, strict=True))
    others = [name for name in table.columns if name and name not in known]
    rows = list(table.rows)
    labels = {}
    for name in others:
        cells = [_plain(row.get(name)) for _, row in rows]
        filled = [cell for cell in cells if cell]
        if not filled or 2 * sum(cell in _NEARLY for cell in filled) < len(filled):  # as of an identity or a width
            continue
        for line, row in rows:
            yes_or_no(table.where(line), name, row.get(name))
        if others.count(name) > 1:
            raise UserError(f"{table.path} has the column {shown(name)} twice in its first line: take one out.")
        labels[name] = str(_one(f"{table.path}, line 1", titles[name]))
    return labels


def yes_or_no(where: str, name: str, value: Any) -> bool:
    """Whether an image has a label, by its column.

    Raises:
        UserError: It says neither.
    """
    if (answer := _YES_OR_NO.get(_plain(value))) is None:
        raise UserError(
            f"{where}: the column {shown(name)} has {shown(str('' if value is None else value))!r}, where a label has "
            "0 or 1: write one of them, or take the column out."
        )
    return answer


def _plain(value: Any) -> str:
    return "" if value is None else str(value).strip().lower()


def _one(where: str, value: Any) -> Label:
    if type(value) is int and abs(value) < 2**62:
        return value
    return unicodedata.normalize("NFC", as_text(where, "label", value))


def check_separator(rows: Sequence[tuple[str, Labels]], classes: Sequence[str], multilabel: bool) -> None:
    """Have names that hold the mark between labels be a ``UserError``, where they could be several.

    Args:
        rows: Where each row stands, and its labels.
        classes: Names of all.
    """
    holding = [name for name in classes if SEPARATOR in name]
    if multilabel and holding:
        raise UserError(
            f"The label {shown(holding[0][:40])!r} holds a {SEPARATOR}, which stands between labels: rename it."
        )
    for name in holding:
        parts = [part.strip() for part in name.split(SEPARATOR)]
        if any(part in classes for part in parts):
            where = next(place for place, label in rows if label == name)
            raise UserError(
                f"{where}: the label {shown(name[:40])!r} could be {len(parts)}: call the column labels if an image "
                f"may have several, or write the class without {SEPARATOR}."
            )


def check_other_marks(rows: Sequence[tuple[str, Labels]], classes: Sequence[str]) -> None:
    """Have labels that are divided by another mark be a ``UserError``: where all their parts come again elsewhere."""
    for mark in OTHER_MARKS:
        divided = {name: {part.strip() for part in name.split(mark)} for name in classes if mark in name}
        times = Counter([part for parts in divided.values() for part in parts] + list(classes))
        for name, parts in divided.items():
            if all(times[part] > 1 for part in parts):
                where = next(place for place, labels in rows if name in labels_of(labels))
                raise UserError(
                    f"{where}: the label {shown(name[:40])!r} could be {len(parts)}: write {SEPARATOR} between labels."
                )


def as_text(where: str, key: str, value: Any) -> str:
    """What a cell holds, without blanks around it; "" of an empty one.

    Raises:
        UserError: It is no text.
    """
    if value is None:
        return ""
    text = str(value).strip()
    if (
        isinstance(value, str | int)
        and not isinstance(value, bool)
        and not any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text)
    ):
        return text
    raise UserError(f"{where}: the {key} is {shown(str(value)[:40])!r}, which is no text.")


def labels_of(labels: Labels) -> tuple[Label, ...]:
    """One or several, as several."""
    return labels if isinstance(labels, tuple) else (labels,)


def all_names(rows: Iterable[Labels]) -> set[Label]:
    """Every label that a row has."""
    return {label for labels in rows for label in labels_of(labels)}


def several_labels_note(rows: Sequence[Sequence[Label]], classes: Sequence[str]) -> str:
    """A sentence on images that may have several labels."""
    bare = sum(not labels for labels in rows)
    each = sum(map(len, rows)) / len(rows)
    names = f"{counted(len(classes), 'label')} ({some(classes, SHOWN)})"
    which = f"several of {names}, {each:.2g} on average" if len(classes) > 1 else f"{names}, or not"
    none = (
        f"; {counted(bare)} {'has' if bare == 1 else 'have'} none, and count{'s' if bare == 1 else ''} as showing none"
    )
    return f"An image may have {which}{none if bare else ''}."
