"""What several trainings of one backbone got on the test set, with its uncertainty, and how two backbones differ."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mixtransfer.classification.answers import read_answers
from mixtransfer.classification.metrics import Estimate
from mixtransfer.comparison.statistics import McNemar, Uncertain, mcnemar, mean_accuracy, paired_difference
from mixtransfer.errors import UserError
from mixtransfer.runs.run import Run


class Outcome(Protocol):
    """Test results of one backbone.

    Attributes:
        images: Number of test images.
        seeds: Number of trainings, or of trainings on all folds.
        covers: What the intervals know of: "images", "trainings", "splits".
    """

    images: int
    seeds: int
    covers: tuple[str, ...]

    def score(self) -> Estimate:
        """Accuracy, or average precision, as a fraction with its 95 % interval."""

    def by_seed(self) -> list[float]:
        """The score of each training."""

    def less(self, other: "Outcome") -> Uncertain:
        """This score less the other's on the same images."""

    def mcnemar(self, other: "Outcome") -> list[McNemar]:
        """The test of each two networks of one seed; empty where answers are not simply right or wrong."""

    def check_same(self, other: "Outcome") -> None:
        """Have test images that differ be a ``UserError``."""


@dataclass(frozen=True)
class Place:
    """Where a run stands in a study: its seed and, with folds, the number of its fold, from 0, and of all folds."""

    seed: int
    fold: int = 0
    folds: int | None = None

    @classmethod
    def of(cls, run: Run) -> "Place":
        values = run.read_config() if Run.is_run(run.folder) else {}
        if not values.get("fold"):
            return cls(values.get("seed", 0))
        number, _, count = str(values["fold"]).partition("/")
        return cls(values.get("seed", 0), int(number) - 1, int(count))


def whole(runs: Mapping[str, Sequence[Run]]) -> dict[str, tuple[list[Run], list[str]]]:
    """Of each backbone the runs that can be compared, and what was left out, in words.

    Without folds these are all. With folds it takes seeds of which every fold is trained, and the same seeds of all
    backbones that have one in common.
    """
    complete: dict[str, set[int]] = {}
    answers: dict[str, tuple[list[Run], list[str]]] = {}
    for name, its in runs.items():
        places = [Place.of(run) for run in its]
        found: dict[int, set[int]] = {}
        for place in places:
            found.setdefault(place.seed, set()).add(place.fold)
        lacking = {p.seed: p.folds - len(found[p.seed]) for p in places if p.folds and len(found[p.seed]) < p.folds}
        said = [f"seed {seed}: left out, {n} of its folds are not trained" for seed, n in lacking.items()]
        answers[name] = [run for run, p in zip(its, places, strict=True) if p.seed not in lacking], said
        if any(place.folds for place in places):
            complete[name] = found.keys() - lacking.keys()
    seeds = Counter(seed for own in complete.values() for seed in own)
    if not seeds:
        return answers
    usual = min(seeds, key=lambda seed: (-seeds[seed], seed))  # the one that most of them have
    shared = set.intersection(*(own for own in complete.values() if usual in own))
    for name, own in complete.items():
        kept, said = answers[name]
        said += [f"seed {seed}: left out, not all others have it whole" for seed in sorted(own - shared)]
        answers[name] = [run for run in kept if Place.of(run).seed in shared and usual in own], said
    return answers


@dataclass(frozen=True)
class ClassificationOutcome:
    """See ``Outcome``.

    Attributes:
        hits: Whether each training's network was right, bool, shape (seeds, images).
        asked: Image and true class of each column, sorted.
        numbers: The seeds.
        folds: The fold in which each image was tested, from 0, shape (seeds, images); None without folds.
        source: A run, for errors.
        listed: Image and class as the first run has them, if some names are not unique.
    """

    hits: np.ndarray
    asked: list[tuple[str, str]]
    numbers: list[int]
    folds: np.ndarray | None = None
    source: Path = Path()
    listed: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def of(cls, runs: Sequence[Run]) -> "ClassificationOutcome":
        """Read the answers of trained runs; with folds, of whole seeds (see ``whole``).

        Raises:
            UserError: One is missing or damaged, or the runs were tested on different images or classes.
        """
        tests: dict[Any, list[tuple[Place, Run]]] = {}  # each is one look at every image
        for i, run in enumerate(runs):
            place = Place.of(run)
            tests.setdefault(place.seed if place.folds else (place.seed, i), []).append((place, run))
        read = [cls._one(sorted(test, key=lambda one: one[0].fold)) for test in tests.values()]
        for one in read:
            if reason := read[0]._differs(one):
                raise UserError(f"{read[0].source} and {one.source} cannot be compared: {reason}.")
        folds = [one.folds for one in read if one.folds is not None]
        numbers = [number for one in read for number in one.numbers]
        return cls(
            np.concatenate([one.hits for one in read]),
            read[0].asked,
            numbers,
            np.concatenate(folds) if folds else None,
            read[0].source,
            read[0].listed,
        )

    @classmethod
    def _one(cls, test: Sequence[tuple[Place, Run]]) -> "ClassificationOutcome":
        """A run, or the runs of all folds of a seed."""
        answers = [read_answers(run.test_predictions) for _, run in test]
        listed = [pair for one in answers for pair in zip(one.images, one.classes, strict=True)]
        order = sorted(range(len(listed)), key=listed.__getitem__)
        hits = np.concatenate([one.hits for one in answers])[None, order]
        (place, run), *_ = test
        folds = None
        if place.folds:
            folds = np.repeat([one.fold for one, _ in test], [len(one.images) for one in answers])[None, order]
        asked = [listed[i] for i in order]
        twice = next((one for one, other in zip(asked, asked[1:], strict=False) if one == other), None)
        if twice and place.folds:
            raise UserError(
                f"{run.folder}: two test images are called {twice[0]!r}, so that folds cannot be matched: rename one."
            )
        return cls(hits, asked, [place.seed], folds, run.folder, listed if twice else [])

    @property
    def seeds(self) -> int:
        return len(self.hits)

    @property
    def images(self) -> int:
        return self.hits.shape[1]

    @property
    def covers(self) -> tuple[str, ...]:
        if self.folds is not None:
            return ("images", "trainings", "splits")
        return ("images", "trainings") if self.seeds > 1 else ("images",)

    def score(self) -> Estimate:
        return mean_accuracy(self.hits, self.folds)

    def by_seed(self) -> list[float]:
        return [float(value) for value in self.hits.mean(axis=1)]

    def less(self, other: "ClassificationOutcome") -> Uncertain:
        if self.folds is None or other.folds is None:
            return paired_difference(self.hits, other.hits)
        mine, yours = self._shared(other)
        return paired_difference(self.hits[mine], other.hits[yours], self.folds[mine])

    def mcnemar(self, other: "ClassificationOutcome") -> list[McNemar]:
        if self.folds is not None:  # many networks gave the answers
            return []
        pairs = zip(*self._shared(other), strict=True)
        return [mcnemar(self.hits[mine], other.hits[yours]) for mine, yours in pairs]

    def _shared(self, other: "ClassificationOutcome") -> tuple[list[int], list[int]]:
        """The rows of both that share a seed; without folds, if none does, as many of each as there are of both."""
        shared = [seed for seed in self.numbers if seed in other.numbers]
        if shared or self.folds is not None:
            return [self.numbers.index(seed) for seed in shared], [other.numbers.index(seed) for seed in shared]
        count = list(range(min(self.seeds, other.seeds)))
        return count, count

    def check_same(self, other: "ClassificationOutcome") -> None:
        if reason := self._differs(other) or self._folds_differ(other):
            raise UserError(f"{self.source} and {other.source} cannot be compared: {reason}.")

    def _differs(self, other: "ClassificationOutcome") -> str | None:
        if (self.folds is None) != (other.folds is None):
            return "one was tested on folds of the data, the other on a test part"
        if self.asked != other.asked:
            mine, yours = ({name for _, name in one.asked} for one in (self, other))
            if mine != yours:
                return f"the class {min(mine ^ yours)!r} is in one test set only"
            if self.images != other.images:
                return f"they have {self.images} and {other.images} test images"
            one = next(one for one, two in zip(self.asked, other.asked, strict=True) if one != two)
            return f"their test images differ, such as {one[0]!r}"
        if self.listed != other.listed:
            return "several of their test images have the same name and come in another order"
        return None

    def _folds_differ(self, other: "ClassificationOutcome") -> str | None:
        if self.folds is None or other.folds is None:
            return None
        mine, yours = self._shared(other)
        if (self.folds[mine] != other.folds[yours]).any():
            return "they cut the data into other folds"
        return None
