"""What a table's columns say of the labels of images: one a row, several in one column, or a column of 0 and 1 each."""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mixtransfer.data.division import counted
from mixtransfer.data.labels import SEPARATOR
from mixtransfer.data.lookup import shown
from mixtransfer.data.table import Table
from mixtransfer.errors import UserError

ONE = ("label", "class", "class_name", "category")  # what a column of one label may be called
SEVERAL = ("labels", "classes", "tags", "categories")
_YES_OR_NO = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}

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
        parts = value if isinstance(value, list) else str(value).split(SEPARATOR) if isinstance(value, str) else [value]
        return tuple(dict.fromkeys(label for part in parts if (label := _one(where, part)) != ""))


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
        return LabelColumns(name, multilabel=name in SEVERAL or in_lists)
    return LabelColumns(None, True, binary) if (binary := _binary(table, known)) else LabelColumns(None)


def _binary(table: Table, known: Sequence[str]) -> dict[str, str]:
    """The columns that have 0 or 1 in every row, and the label of each; those that seldom have are none.

    Raises:
        UserError: One has something else in some rows, or stands twice.
    """
    titles = dict(zip(table.columns, table.titles, strict=True))
    others = [name for name in table.columns if name and name not in known]
    rows = list(table.rows)
    labels = {}
    for name in others:
        answers = [_as_bool(row.get(name)) for _, row in rows]
        if all(answer is None for answer in answers):
            continue
        if sum(answer is None for answer in answers) > len(answers) / 2:  # as an identity or a width
            continue
        for (line, row), answer in zip(rows, answers, strict=True):
            if answer is None:
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
    if (answer := _as_bool(value)) is None:
        raise UserError(
            f"{where}: the column {shown(name)} has {shown(str('' if value is None else value))!r}, where a label has "
            "0 or 1: write one of them, or take the column out."
        )
    return answer


def _as_bool(value: Any) -> bool | None:
    return None if value is None else _YES_OR_NO.get(str(value).strip().lower())


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
    none = (
        f"; {counted(bare)} {'has' if bare == 1 else 'have'} none, and count{'s' if bare == 1 else ''} as showing none"
    )
    return (
        f"An image may have several of {counted(len(classes), 'label')}, {each:.2g} on average{none if bare else ''}."
    )
