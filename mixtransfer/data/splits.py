"""Setting images aside by a hash of their paths: what comes or goes moves none of the others."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mixtransfer.data.labels import is_multilabel, members_of_classes
from mixtransfer.data.stratify import deal_labels
from mixtransfer.errors import UserError


class TooFew(ValueError):
    """A class cannot be in every part.

    Attributes:
        label: The class.
        images, units: How many images it has, and in how many units that stay whole.
        needed: How many units it takes.
        part: What they are missing in: "test", "validation" or "fold".
    """

    def __init__(self, label: int, images: int, units: int, needed: int, part: str):
        super().__init__(f"class {label} has {units} of the {needed} units that it takes")
        self.label, self.images, self.units, self.needed, self.part = label, images, units, needed, part


def place(name: str, seed: int, purpose: str) -> float:
    """Where a name lies between 0 and 1: as good as drawn evenly, and anew for each seed and purpose."""
    key = f"{seed}/{purpose}/{name}".encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") / 2**64


def set_aside(
    units: Sequence[str],
    labels: np.ndarray,
    fraction: float,
    seed: int,
    part: str,
    leave: int = 1,
    most: int | None = None,
) -> np.ndarray:
    """Choose about a share of the images: those whose ``place`` is below it.

    So it does not depend on the other images whether one is chosen. Only where a class would then be missing on one
    side, the unit of it that is nearest to the threshold changes sides.

    Args:
        units: What is hashed of each image and what stays whole: its path, or its group; shape (n,).
        labels: See ``mixtransfer.data.labels``; a class below 0 need not be on both sides.
        fraction: The share.
        seed: Of the hash.
        part: What the chosen images are for ("test", "validation").
        leave: Units of each class that are not chosen, at least.
        most: Images that are chosen, at most; then those with the lowest places.

    Returns:
        Mask of the chosen images, shape (n,).

    Raises:
        UserError: The share is none.
        TooFew: A class has too few units to be on both sides.
    """
    if not 0 < fraction < 1:
        raise UserError(f"The {part} fraction is {fraction}; it must lie between 0 and 1.")
    names, unit = _numbered(units)
    places = np.array([place(name, seed, part) for name in names])
    chosen = places < fraction
    if most is not None:
        order = np.argsort(places, kind="stable")
        chosen[order[np.cumsum(np.bincount(unit, minlength=len(names))[order]) > most]] = False
    images, members = _members(unit, labels, places)
    of_unit: dict[int, list[int]] = {}
    for label, own in members.items():
        for one in own.tolist():
            of_unit.setdefault(one, []).append(label)
        if len(own) <= leave:
            raise TooFew(label, images[label], len(own), leave + 1, part)

    def _may_move(one: int, enters: bool) -> bool:
        after = chosen.copy()
        after[one] = enters
        others = (members[label] for label in of_unit[one])
        return all(_on_both_sides(after[own], leave) or not _on_both_sides(chosen[own], leave) for own in others)

    moved: set[int] = set()
    repaired = True
    while repaired:  # what mends one class may break another, where groups hold several
        repaired = False
        for label, own in members.items():
            while not _on_both_sides(chosen[own], leave):
                enters = not chosen[own].any()
                candidates = [u for u in (own if enters else own[::-1]) if chosen[u] != enters and u not in moved]
                if not candidates:
                    raise TooFew(label, images[label], len(own), len(own) + 1, part)
                # One that breaks no other class, if there is such: an image may have several.
                best = next((u for u in candidates if _may_move(u, enters)), candidates[0])
                chosen[best] = enters
                moved.add(best)
                repaired = True
    return chosen[unit]


def _numbered(units: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """The different units in order, and the number of each image's."""
    names = sorted(set(units))
    number = {name: i for i, name in enumerate(names)}
    return names, np.array([number[name] for name in units], dtype=np.int64)


def _members(unit: np.ndarray, labels: np.ndarray, places: np.ndarray) -> tuple[dict[int, int], dict[int, np.ndarray]]:
    """How many images each class has, and its units by place."""
    images, members = {}, {}
    for label, own in members_of_classes(labels):
        units = np.unique(unit[own])
        images[label], members[label] = len(own), units[np.argsort(places[units], kind="stable")]
    return images, members


def _on_both_sides(chosen: np.ndarray, leave: int) -> bool:
    return bool(chosen.any()) and int((~chosen).sum()) >= leave


@dataclass(frozen=True)
class Fold:
    """One of several equal parts of the data: the ``number``-th, from 1, of ``count``."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Fold":
        """Read "2/5".

        Raises:
            UserError: It is something else.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        fold = cls(int(found[1]), int(found[2])) if found else cls(0, 0)
        if fold.count < 2 or not 1 <= fold.number <= fold.count:
            raise UserError(f"The fold is {text!r}; it must be like 2/5, the second of five.")
        return fold

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def in_fold(units: Sequence[str], labels: np.ndarray, fold: Fold, seed: int) -> np.ndarray:
    """Deal the images over folds, each class evenly, and pick one of them.

    Images are dealt by rank of their ``place`` within their class, a class after the other; groups, which stay whole,
    by scikit-learn's StratifiedGroupKFold; images with several labels by ``deal_labels``.

    Args:
        units, labels: See ``set_aside``.
        seed: Of the places, or of the shuffling of groups.

    Returns:
        Mask of the images in the fold, shape (n,).

    Raises:
        TooFew: A class has fewer units than there are folds.
    """
    names, unit = _numbered(units)
    places = np.array([place(name, seed, "fold") for name in names])
    images, members = _members(unit, labels, places)
    for label, own in members.items():
        if len(own) < fold.count:
            raise TooFew(label, images[label], len(own), fold.count, "fold")
    if is_multilabel(labels):
        return deal_labels(unit, labels, fold.count, np.argsort(np.argsort(places))) == fold.number - 1
    if len(names) < len(unit):
        from sklearn.model_selection import StratifiedGroupKFold

        dealer = StratifiedGroupKFold(fold.count, shuffle=True, random_state=seed % 2**32)
        _, chosen = list(dealer.split(np.zeros(len(unit)), labels, unit))[fold.number - 1]
        return np.isin(np.arange(len(unit)), chosen)
    rank = np.empty(len(unit), dtype=np.int64)
    rank[np.lexsort((unit, places[unit], labels))] = np.arange(len(unit))
    return rank % fold.count == fold.number - 1
