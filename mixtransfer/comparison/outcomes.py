"""What several trainings of one backbone got on the test set, with its uncertainty, and how two backbones differ."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from mixtransfer.classification.answers import read_answers
from mixtransfer.classification.metrics import Estimate
from mixtransfer.comparison.statistics import McNemar, combined_interval, mcnemar, mean_accuracy, paired_difference
from mixtransfer.errors import UserError
from mixtransfer.run import Run

RESAMPLES = 100  # of the test images, for average precision


class Outcome(Protocol):
    """Test results of one backbone.

    Attributes:
        images: Number of test images.
        seeds: Number of trainings.
    """

    images: int
    seeds: int

    def score(self) -> Estimate:
        """Accuracy, or average precision, as a fraction with its 95 % interval."""

    def by_seed(self) -> list[float]:
        """The score of each training."""

    def less(self, other: "Outcome") -> Estimate:
        """This score less the other's, of trainings with the same seeds on the same images."""

    def mcnemar(self, other: "Outcome") -> list[McNemar]:
        """The test for each seed; empty where answers are not simply right or wrong."""


@dataclass(frozen=True)
class ClassificationOutcome:
    """See ``Outcome``.

    Attributes:
        hits: Whether each training's network was right, bool, shape (seeds, images).
        asked: Image and true class of each column.
    """

    hits: np.ndarray
    asked: list[tuple[str, str]]

    @classmethod
    def of(cls, runs: Sequence[Run]) -> "ClassificationOutcome":
        """Read the answers of trained runs.

        Raises:
            UserError: One is missing or damaged, or the runs were tested on different images or classes.
        """
        answers = [read_answers(run.test_predictions) for run in runs]
        asked = [sorted(zip(one.images, one.classes, strict=True)) for one in answers]
        for run, other in zip(runs, asked, strict=True):
            if other != asked[0]:
                _refuse(runs[0], run, asked[0], other)
        orders = [np.lexsort((one.classes, one.images)) for one in answers]
        return cls(np.stack([one.hits[order] for one, order in zip(answers, orders, strict=True)]), asked[0])

    @property
    def seeds(self) -> int:
        return len(self.hits)

    @property
    def images(self) -> int:
        return self.hits.shape[1]

    def score(self) -> Estimate:
        return mean_accuracy(self.hits)

    def by_seed(self) -> list[float]:
        return [float(value) for value in self.hits.mean(axis=1)]

    def less(self, other: "ClassificationOutcome") -> Estimate:
        seeds = min(self.seeds, other.seeds)
        return paired_difference(self.hits[:seeds], other.hits[:seeds])

    def mcnemar(self, other: "ClassificationOutcome") -> list[McNemar]:
        return [mcnemar(mine, yours) for mine, yours in zip(self.hits, other.hits, strict=False)]


def _refuse(first: Run, second: Run, asked: list[tuple[str, str]], other: list[tuple[str, str]]) -> None:
    classes = {name for _, name in asked}, {name for _, name in other}
    if classes[0] != classes[1]:
        reason = f"the class {sorted(classes[0] ^ classes[1])[0]!r} is in one test set only"
    elif len(asked) != len(other):
        reason = f"they have {len(asked)} and {len(other)} test images"
    else:
        reason = "their test images differ"
    raise UserError(f"{first.folder} and {second.folder} cannot be compared: {reason}.")


@dataclass(frozen=True)
class DetectionOutcome:
    """See ``Outcome``; the score is COCO's average precision.

    Attributes:
        truth: The test set in COCO's format.
        detections: Of each training, in COCO's format.
    """

    truth: dict
    detections: list[list[dict]]

    @classmethod
    def of(cls, runs: Sequence[Run]) -> "DetectionOutcome":
        """Read the detections of trained runs, and the truth from the data of the first.

        Raises:
            UserError: One is missing or damaged, or the runs were tested on different images or classes.
        """
        truths: dict[tuple, dict] = {}
        for run in runs:
            key = (run.read_config().get("data"), run.split.read_bytes() if run.split.exists() else run.folder)
            if key not in truths:
                truths[key] = _truth(run)
            if truths[key] != next(iter(truths.values())):
                raise UserError(
                    f"{runs[0].folder} and {run.folder} cannot be compared: their test images or boxes differ."
                )
        return cls(next(iter(truths.values())), [_read_detections(run) for run in runs])

    @property
    def seeds(self) -> int:
        return len(self.detections)

    @property
    def images(self) -> int:
        return len(self.truth["images"])

    @cached_property
    def _resampled(self) -> tuple[np.ndarray, np.ndarray]:
        """AP of each training, (seeds,), and of each on the same resamples, (seeds, resamples)."""
        from mixtransfer.detection.scores import resampled_ap

        draws = np.random.default_rng(0).integers(0, self.images, (RESAMPLES, self.images))
        values, resampled = zip(*(resampled_ap(self.truth, one, draws) for one in self.detections), strict=True)
        return np.array(values), np.stack(resampled)

    def score(self) -> Estimate:
        values, resampled = self._resampled
        return combined_interval(values, np.nanvar(resampled.mean(axis=0)), self.images, (0.0, 1.0))

    def by_seed(self) -> list[float]:
        return [float(value) for value in self._resampled[0]]

    def less(self, other: "DetectionOutcome") -> Estimate:
        seeds = min(self.seeds, other.seeds)
        (mine, my_draws), (yours, your_draws) = self._resampled, other._resampled
        between = (my_draws[:seeds] - your_draws[:seeds]).mean(axis=0)
        return combined_interval(mine[:seeds] - yours[:seeds], np.nanvar(between), self.images, (-1.0, 1.0))

    def mcnemar(self, other: "DetectionOutcome") -> list[McNemar]:
        return []


def _truth(run: Run) -> dict:
    from mixtransfer.data.detection.coco import coco_json
    from mixtransfer.run_data import boxes_of_run

    dataset = boxes_of_run(run)
    return coco_json(dataset.test, dataset.classes, dataset.category_ids)


def _read_detections(run: Run) -> list[dict]:
    try:
        found = json.loads(run.test_detections.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{run.folder} has not been tested yet: {run.test_detections.name} is missing.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{run.test_detections} is damaged ({type(error).__name__}).") from error
    if not isinstance(found, list) or not all(map(_is_detection, found)):
        raise UserError(f"{run.test_detections} is damaged: it should hold detections in COCO's format.")
    return found


def _is_detection(value: object) -> bool:
    if not isinstance(value, dict) or any(type(value.get(name)) is not int for name in ("image_id", "category_id")):
        return False
    box = value.get("bbox")
    numbers: list[Any] = [*box, value.get("score")] if isinstance(box, list) and len(box) == 4 else [None]
    return all(type(number) in (int, float) and abs(number) < 1e9 for number in numbers)


OUTCOMES: dict[str, Any] = {"classify": ClassificationOutcome, "detect": DetectionOutcome}
