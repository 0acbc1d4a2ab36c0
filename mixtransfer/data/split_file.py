"""``split.csv``: which image is in which part, so that nothing is drawn twice."""

import csv
import hashlib
import io
import sys
from collections import defaultdict, deque
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mixtransfer.common.batches import map_in_threads
from mixtransfer.common.files import write_atomic
from mixtransfer.data.division import Division, Found, counted
from mixtransfer.data.draw import Draw
from mixtransfer.data.labels import indicators, is_multilabel, names_in
from mixtransfer.errors import UserError

COLUMNS = ("path", "label", "part", "group", "digest")
SEVERAL = ("path", "labels", "part", "group", "digest")  # where an image may have several, with a ; between
AT_ONCE = 500  # files that a thread reads before it takes more
PARTS = {"train": "to train on", "val": "to validate", "test": "to test"}


@dataclass(frozen=True)
class Split:
    """The parts of n images.

    Attributes:
        names, labels, groups: See ``Found``'s ``names``, ``label_names`` and ``groups``.
        parts: "train", "val" or "test" of each.
        digests: Of each file; see ``digest``. Empty where there are no files.
        file: Where it was read from, for errors.
        classes: Names that the data must have, no more and no fewer; by default those of ``labels``.
        multilabel: Whether ``labels`` are several each.
    """

    names: Sequence[str]
    labels: Sequence[str]
    parts: Sequence[str]
    groups: Sequence[str]
    digests: Sequence[str] = ()
    file: Path | None = None
    classes: Sequence[str] | None = None
    multilabel: bool = False

    @classmethod
    def of(cls, found: Found, division: Division) -> "Split":
        """What was settled, to be kept; new images are left out."""
        chosen = [i for i, part in enumerate(division.parts) if part in PARTS]
        return cls(
            [found.names[i] for i in chosen],
            [found.label_names[i] for i in chosen],
            [division.parts[i] for i in chosen],
            [division.groups[i] for i in chosen],
            digests([found.files[i] for i in chosen]) if found.files is not None else (),
            multilabel=is_multilabel(found.labels),
        )

    @property
    def own_classes(self) -> list[str]:
        """The classes of its images, in alphabetical order."""
        return sorted({name for text in set(self.labels) for name in names_in(text, self.multilabel)})

    def dealt(self, draw: Draw) -> "Split":
        """The same images in parts that are drawn anew.

        Raises:
            UserError: An option does not go with the images.
            TooFew: A class cannot be in every part.
        """
        names = self.own_classes
        shown = [names_in(text, self.multilabel) for text in self.labels]
        found = Found(
            self.file or "the split",
            names,
            list(self.names),
            np.full(len(self.names), "all", dtype=object),
            indicators(shown, names) if self.multilabel else np.array([names.index(own[0]) for own in shown]),
            list(self.labels),
            list(self.groups),
        )
        return replace(self, parts=draw.divide(found).parts.tolist())

    def write(self, path: Path) -> None:
        """Write a CSV file, a row an image; see ``COLUMNS`` and ``SEVERAL``."""
        text = io.StringIO()
        contents = self.digests or [""] * len(self.names)
        rows = list(zip(self.names, self.labels, self.parts, self.groups, contents, strict=True))
        odd = any("\r" in value for row in rows for value in row)  # it would be read as the end of a line
        writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL if odd else csv.QUOTE_MINIMAL)
        writer.writerows([SEVERAL if self.multilabel else COLUMNS, *rows])
        write_atomic(path, text.getvalue().encode("utf-8", "surrogateescape"))  # names of files need not be text

    @classmethod
    def read(cls, path: Path) -> "Split":
        """Read what ``write`` wrote; the column digest may be missing.

        Raises:
            FileNotFoundError: It is not there.
            UserError: It is damaged; the message names the line.
        """
        mend = "put back what training wrote, or train anew"
        try:
            with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
                reader = csv.DictReader(file, strict=True)
                multilabel = set(SEVERAL[:4]) <= set(reader.fieldnames or ())
                if not multilabel and not set(COLUMNS[:4]) <= set(reader.fieldnames or ()):
                    raise UserError(f"{path} is damaged, it needs the columns {', '.join(COLUMNS[:4])}: {mend}.")
                columns: list[list[str]] = [[] for _ in COLUMNS]
                for row in reader:
                    values = [row.get(column) for column in (SEVERAL if multilabel else COLUMNS)]
                    if None in row or None in values[:4] or not values[0] or values[2] not in PARTS:
                        raise UserError(f"{path} is damaged in line {reader.line_num}: {mend}.")
                    for name, column, value in zip(COLUMNS, columns, values, strict=True):  # few of most columns differ
                        column.append(value or "" if name in ("path", "digest") else sys.intern(value or ""))
        except FileNotFoundError:
            raise
        except (OSError, csv.Error, ValueError) as error:
            raise UserError(f"{path} is damaged ({error}): {mend}.") from error
        names, labels, parts, groups, contents = columns
        if not names:
            raise UserError(f"{path} is damaged, it names no image: {mend}.")
        owners: dict[tuple[str, str], str] = {}
        for name, part, one in zip(names, parts, contents, strict=True):
            if owners.setdefault((name, one), part) != part:
                raise UserError(f"{path} is damaged, it names {name} more than once: {mend}.")
        if len(owners) < len(names):  # as of manifests that list an image twice
            rows = dict(zip(zip(names, contents, strict=True), zip(labels, parts, groups, strict=True), strict=True))
            names, contents = (list(column) for column in zip(*rows, strict=True))
            labels, parts, groups = (list(column) for column in zip(*rows.values(), strict=True))
        return cls(names, labels, parts, groups, contents if any(contents) else (), path, None, multilabel)

    def known(self, files: Sequence[Path]) -> list[str]:
        """The part that each file was in, by its contents, wherever it lies now; "" if in none."""
        rank = {part: i for i, part in enumerate(PARTS)}  # an image that was in two was trained on
        by_contents: dict[str, str] = {}
        for one, part in sorted(zip(self.digests, self.parts, strict=False), key=lambda pair: -rank[pair[1]]):
            by_contents[one] = part
        by_contents.pop("", None)
        return [by_contents.get(one, "") for one in digests(files)] if by_contents else [""] * len(files)

    def divide(self, found: Found) -> Division:
        """Put each image into the part that it was in.

        An image is known by its path and its contents: a file under another name keeps its part, one under the name of
        another image does not take that one's, and one that is in no part is "new".

        Raises:
            UserError: The data has other classes, or none of the images.
        """
        if is_multilabel(found.labels) != self.multilabel:
            one, other = ("several labels", "a class") if self.multilabel else ("a class", "several labels")
            raise UserError(f"{self.file} is of images with {one} each; those of {found.source} have {other}.")
        self._check_classes(found)
        row, notes = self._rows(found)
        known = row >= 0
        if not known.any():
            raise UserError(f"None of the images of {self.file} is in {found.source}: put them back, or train anew.")
        self._check_images(found, row)
        parts = np.array(self.parts, dtype=object)[row]
        parts[~known] = "new"
        groups = np.array(self.groups, dtype=object)[row]
        groups[~known] = ""
        order = np.where(known, row, len(self.names) + np.arange(len(row)))
        return Division(parts, order, groups.tolist(), [*self._absent(row), *notes, *self._relabelled(found, row)])

    def _check_classes(self, found: Found) -> None:
        known = set(self.classes if self.classes is not None else self.own_classes) - {""}
        added, gone = sorted(set(found.classes) - known), sorted(known - set(found.classes))
        if known and (added or gone):
            words = [f"{_named(names)} {'is' if len(names) == 1 else 'are'} {what}"
                     for names, what in ((added, "new"), (gone, "gone")) if names]  # fmt: skip
            raise UserError(
                f"{found.source} has other classes than the run was trained with: {' and '.join(words)}; "
                "change that back, or train anew."
            )

    def _check_images(self, found: Found, row: np.ndarray) -> None:
        shown = {found.label_names[i] for i in np.flatnonzero(row >= 0)}
        left = {name for text in shown for name in names_in(text, self.multilabel)}
        if gone := [name for name in self.own_classes if name not in left]:
            raise UserError(
                f"{found.source} has lost all images that the class {_named(gone)} was trained and tested with: "
                "put them back, or train anew."
            )

    def _rows(self, found: Found) -> tuple[np.ndarray, list[str]]:
        """The row of each image, or -1, and what was noticed."""
        row = np.full(len(found.names), -1)
        if not self.digests or found.files is None:
            self._match(row, self.names, found.names)
            return row, []
        contents = digests(found.files)
        places = {name: i for i, name in enumerate(self.names)}
        for j, (name, one) in enumerate(zip(found.names, contents, strict=True)):
            if self.digests[places.get(name, -1)] == one and name in places:
                row[j] = places.pop(name)
        if (row >= 0).all():
            return row, []
        renamed = self._match(row, self.digests, contents)
        # What has the contents of an image that is there already is a copy of it, and not what its name says.
        known = set(self.digests)
        changed = self._match(
            row, self.names, (None if one in known else name for name, one in zip(found.names, contents, strict=True))
        )
        notes = []
        if renamed:
            names = f"{self.names[row[renamed[0]]]}, now {found.names[renamed[0]]}"
            theirs = ("its", "another name") if len(renamed) == 1 else ("their", "other names")
            notes.append(f"{counted(len(renamed))} kept {theirs[0]} part of the split under {theirs[1]} ({names}).")
        if changed:
            notes.append(f"{counted(len(changed))} changed since the split ({found.names[changed[0]]} for one).")
        return row, notes

    def _match(self, row: np.ndarray, mine: Iterable[Hashable], theirs: Iterable[Hashable]) -> list[int]:
        """Give images without a row the first free one whose key is theirs, and return these images' positions."""
        taken, free = set(row.tolist()), defaultdict(deque)  # type: tuple[set[int], dict[Hashable, deque[int]]]
        for i, key in enumerate(mine):
            if i not in taken:
                free[key].append(i)
        matched = []
        for j, key in enumerate(theirs):
            if row[j] < 0 and free.get(key):
                row[j] = free[key].popleft()
                matched.append(j)
        return matched

    def _absent(self, row: np.ndarray) -> list[str]:
        """What is said of images that are missing or new."""
        notes = []
        if new := int((row < 0).sum()):
            notes.append(
                f"{counted(new)} of the data came after the split and {'is' if new == 1 else 'are'} in no part."
            )
        gone = sorted(set(range(len(self.names))) - set(row.tolist()))
        if gone:
            counts = {words: sum(self.parts[i] == part for i in gone) for part, words in PARTS.items()}
            listed = ", ".join(f"{count:,} {words}" for words, count in counts.items() if count)
            notes.append(
                f"{counted(len(gone))} of the split {'is' if len(gone) == 1 else 'are'} missing and left out: {listed} "
                f"({self.names[gone[0]]} for one)."
            )
        return notes

    def _relabelled(self, found: Found, row: np.ndarray) -> list[str]:
        other = [j for j in np.flatnonzero(row >= 0) if self.labels[row[j]] != found.label_names[j]]
        if not other:
            return []
        first = other[0]
        return [
            f"{counted(len(other))} of the split {'has' if len(other) == 1 else 'have'} another label now "
            f"({found.names[first]}: {found.label_names[first] or 'none'}, was {self.labels[row[first]] or 'none'})."
        ]


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:3]))
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


def digests(files: Sequence[Path]) -> list[str]:
    """``digest`` of each file."""
    return list(map_in_threads(digest, files, AT_ONCE))


def digest(file: Path) -> str:
    """What a file is known by under any name: a hash of its contents."""
    try:
        return hashlib.blake2b(file.read_bytes(), digest_size=8).hexdigest()
    except OSError:
        return ""
