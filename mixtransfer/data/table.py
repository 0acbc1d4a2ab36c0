"""Tables of one image a row: CSV as people and programs write it, and JSON lines."""

import contextlib
import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from mixtransfer.data.text import read_text
from mixtransfer.errors import UserError
from mixtransfer.plain_yaml import load_plain_texts


@dataclass(frozen=True)
class Table:
    """A table whose columns are known.

    Attributes:
        path: Its file.
        columns: The names in its first line, or the keys of its first object; of CSV without blanks and capitals.
        rows: Of each row the line in which it ends, and its values by column, of CSV without blanks around them; rows
            of nothing but blanks are left out. They are read as they are asked for, once; a wrong one is a
            ``UserError`` that names its line.
    """

    path: Path
    columns: list[str]
    rows: Iterator[tuple[int, dict[str, Any]]] = field(repr=False)

    def where(self, line: int) -> str:
        return f"{self.path}, line {line}"


def read_table(path: Path) -> Table:
    """Begin to read a file of JSON lines (``.jsonl``), or else of CSV, with commas, semicolons or tabs.

    Raises:
        UserError: It is no such file, or its first line is wrong.
    """
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as text in UTF-8: {error}.") from error
    if path.suffix.lower() == ".jsonl":
        rows = _json_lines(path, text)
        first_row = next(rows, None)
        return Table(path, list(first_row[1]) if first_row else [], chain([first_row] if first_row else [], rows))
    first = text.partition("\n")[0]
    if re.fullmatch(r"sep=[,;\t]\s*", first, re.IGNORECASE):  # Excel's own, which says the separator
        text = text.partition("\n")[2]
        first = text.partition("\n")[0]
    mark = "," if "," in first else next((mark for mark in ";\t" if mark in first), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    with _well_formed(path):
        header = [name.strip().lower() for name in next(reader, [])]
    return Table(path, header, _csv_rows(path, reader, header))


@contextlib.contextmanager
def _well_formed(path: Path) -> Iterator[None]:
    try:
        yield
    except csv.Error as error:
        raise UserError(f"{path} is not a well-formed CSV file: {error}.") from error


def _csv_rows(path: Path, reader: Any, header: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    with _well_formed(path):
        for row in reader:
            if not any(map(str.strip, row)):
                continue
            if any(map(str.strip, row[len(header) :])):
                raise UserError(
                    f"{path}, line {reader.line_num} has {len(row)} values, but the first line has {len(header)} "
                    'columns: a comma within a value needs quotes around it, as in "crane, bird".'
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


def names_in_card(path: Path) -> dict[int, str]:
    """The names of the numbers of the first class_label in the head of a dataset's card, Hugging Face's ``README.md``;
    none if there is no such card."""
    try:
        found = re.match(r"---\n(.*?)\n---", read_text(path).replace("\r\n", "\n"), re.DOTALL)
        pending = [load_plain_texts(found[1])] if found else []
    except (OSError, ValueError):
        return {}
    while pending:
        one = pending.pop(0)
        if isinstance(one, dict):
            names = one["class_label"].get("names") if isinstance(one.get("class_label"), dict) else None
            if isinstance(names, dict) and all(isinstance(k, str) and k.isdigit() and len(k) < 9 for k in names):
                return {int(key): str(name).strip() for key, name in names.items() if str(name).strip()}
            pending += one.values()
        elif isinstance(one, list):
            pending += one
    return {}
