"""What several trainings of one detector got on the test set; see ``Outcome``."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mixtransfer.classification.metrics import Estimate
from mixtransfer.comparison.statistics import McNemar, Resampled, Uncertain
from mixtransfer.errors import UserError
from mixtransfer.runs.run import Run

RESAMPLES = 1000  # of the test images, for average precision


@dataclass(frozen=True)
class DetectionOutcome:
    """See ``Outcome``; the score is COCO's average precision.

    Attributes:
        truth: The test set in COCO's format.
        detections: Of each training, in COCO's format.
        source: A run, for errors.
    """

    truth: dict
    detections: list[list[dict]]
    source: Path = Path()

    @classmethod
    def of(cls, runs: Sequence[Run]) -> "DetectionOutcome":
        """Read the detections of trained runs, and the truth from their data.

        Raises:
            UserError: One is missing or damaged, or the runs were tested on different images or classes.
        """
        truths: dict[tuple, dict] = {}
        read = []
        for run in runs:
            key = (run.read_config().get("data"), run.split.read_bytes() if run.split.exists() else run.folder)
            if key not in truths:
                truths[key] = _truth(run)
            read.append(cls(truths[key], [_read_detections(run)], run.folder))
        for one in read:
            read[0].check_same(one)
        return cls(read[0].truth, [detections for one in read for detections in one.detections], read[0].source)

    @property
    def seeds(self) -> int:
        return len(self.detections)

    @property
    def images(self) -> int:
        return len(self.truth["images"])

    @property
    def covers(self) -> tuple[str, ...]:
        return ("images", "trainings") if self.seeds > 1 else ("images",)

    @cached_property
    def _resampled(self) -> Resampled:
        from mixtransfer.detection.bootstrap import resampled_ap

        draws = np.random.default_rng(0).integers(0, self.images, (RESAMPLES, self.images))
        values, resampled = zip(*(resampled_ap(self.truth, one, draws) for one in self.detections), strict=True)
        return Resampled(np.array(values), np.stack(resampled), self.images)

    def score(self) -> Estimate:
        return self._resampled.mean.estimate

    def by_seed(self) -> list[float]:
        return [float(value) for value in self._resampled.by_seed]

    def less(self, other: "DetectionOutcome") -> Uncertain:
        return self._resampled.less(other._resampled)

    def mcnemar(self, other: "DetectionOutcome") -> list[McNemar]:
        return []

    def check_same(self, other: "DetectionOutcome") -> None:
        if self.truth != other.truth:
            raise UserError(f"{self.source} and {other.source} cannot be compared: their test images or boxes differ.")


def _truth(run: Run) -> dict:
    from mixtransfer.data.detection.coco import coco_json
    from mixtransfer.runs.run_data import boxes_of_run

    dataset = boxes_of_run(run, only="test")
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
