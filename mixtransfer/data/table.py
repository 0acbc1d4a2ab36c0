"""Tables of one image a row: CSV as people and programs write it, and JSON lines."""

import contextlib
import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mixtransfer.common.plain_yaml import load_plain_texts
from mixtransfer.data.text import read_text
from mixtransfer.errors import UserError

MARKS = {",": "comma", ";": "semicolon", "\t": "tab"}


@dataclass(frozen=True)
class Table:
    """A table whose columns are known.

    Attributes:
        path: Its file.
        columns: The names in its first line, or the keys of all its objects; of CSV without blanks and capitals.
        titles: The same as they are written.
        read: Gives ``rows``, each time from the first.
    """

    path: Path
    columns: list[str]
    titles: list[str]
    read: Callable[[], Iterator[tuple[int, dict[str, Any]]]] = field(repr=False)

    @property
    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Of each row the line in which it ends, and its values by column, of CSV without blanks around them.

        Rows of nothing but blanks are left out. A wrong one is a ``UserError`` that names its line, and comes when it
        is reached.
        """
        return self.read()

    def where(self, line: int) -> str:
        return f"{self.path}, line {line}"


def read_table(path: Path) -> Table:
    """Begin to read a file of JSON lines (``.jsonl``), or else of CSV, with commas, semicolons or tabs.

    Raises:
        UserError: It is no such file, or its first line is wrong.
    """
    try:
        text = read_text(path)
    except ValueError as error:
        raise UserError(f"{path} is not text in UTF-8 ({error}): save it as such.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from error
    if path.suffix.lower() == ".jsonl":
        return _json_table(path, text)
    first = text.partition("\n")[0]
    if re.fullmatch(r"sep=[,;\t]\s*", first, re.IGNORECASE):  # Excel's own, which says the separator
        text = text.partition("\n")[2]
        first = text.partition("\n")[0]
    mark = "," if "," in first else next((mark for mark in ";\t" if mark in first), ",")

    def lines() -> Any:
        return csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)

    with _well_formed(path):
        titles = [name.strip() for name in next(lines(), [])]
    header = [title.lower() for title in titles]
    return Table(path, header, titles, lambda: _csv_rows(path, lines(), header, mark))


def _json_table(path: Path, text: str) -> Table:
    rows: list[tuple[int, dict[str, Any]]] = []
    wrong = None
    try:
        rows.extend(_json_lines(path, text))
    except UserError as error:
        if not rows:
            raise
        wrong = error

    def as_written() -> Iterator[tuple[int, dict[str, Any]]]:
        yield from rows
        if wrong:
            raise wrong

    columns = list(dict.fromkeys(key for _, values in rows for key in values))
    return Table(path, columns, columns, as_written)


@contextlib.contextmanager
def _well_formed(path: Path) -> Iterator[None]:
    try:
        yield
    except csv.Error as error:
        raise UserError(f"{path} is not a well-formed CSV file: {error}.") from error


def _csv_rows(path: Path, reader: Any, header: list[str], mark: str) -> Iterator[tuple[int, dict[str, Any]]]:
    with _well_formed(path):
        next(reader, None)
        for row in reader:
            if not any(map(str.strip, row)):
                continue
            if any(map(str.strip, row[len(header) :])):
                raise UserError(
                    f"{path}, line {reader.line_num} has {len(row)} values, but the first line has {len(header)} "
                    f'columns: a {MARKS[mark]} within a value needs quotes around it, as in "crane{mark} bird".'
                )
            yield reader.line_num, dict(zip(header, map(str.strip, row), strict=False))


def _json_lines(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                values = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path}, line {number} is not JSON ({error}).") from error
            if not isinstance(values, dict):
                raise UserError(f"{path}, line {number} is no JSON object.")
            yield number, values


def names_of_numbers(numbers: set[int], names: Mapping[int, str], what: str) -> tuple[dict[int, str], list[str]]:
    """The names of classes that are given by number, as far as a card has them, and what there is to say of it.

    Args:
        names: See ``names_in_card``.
        what: What they are called, such as "Classes".
    """
    notes = []
    if unnamed := sorted(number for number in numbers if number not in names):
        notes.append(f"{what} by number, since README.md names none: {len(unnamed)} ({unnamed[0]} …).")
    return {number: names.get(number, str(number)) for number in numbers}, notes


def names_in_card(path: Path, column: str) -> dict[int, str]:
    """The names of the numbers in a column, by the ``class_label`` that the head of a dataset's card, Hugging Face's
    ``README.md``, has for it or for what stands in it; none if there is no such card.

    Raises:
        UserError: The card has several, as of several configurations, and they differ.
    """
    try:
        found = re.match(r"---\n(.*?)\n---", read_text(path).replace("\r\n", "\n"), re.DOTALL)
        head = load_plain_texts(found[1]) if found else None
    except (OSError, ValueError):
        return {}
    columns = [one for one in _mappings(head) if one.get("name") == column]
    labels = [one.get("class_label") for its in columns for one in _mappings(its)]
    readings: list[dict[int, str]] = []
    for names in (label.get("names") for label in labels if isinstance(label, dict)):
        if isinstance(names, dict) and all(isinstance(k, str) and k.isdigit() and len(k) < 9 for k in names):
            named = {int(key): str(name).strip() for key, name in names.items() if str(name).strip()}
            readings += [named] if named not in readings else []
    if len(readings) > 1:
        raise UserError(f"{path} names the classes of the column {column} in {len(readings)} ways: leave one.")
    return readings[0] if readings else {}


def _mappings(value: Any) -> Iterator[dict]:
    """All mappings in a tree of lists and mappings, itself too."""
    pending = [value]
    while pending:
        one = pending.pop(0)
        if isinstance(one, dict):
            yield one
            pending += one.values()
        elif isinstance(one, list):
            pending += one
