"""All that is said of a detector on images with boxes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mixtransfer.data.detection.coco import coco_json
from mixtransfer.data.detection.dataset import Record
from mixtransfer.detection.bootstrap import Interval, intervals
from mixtransfer.detection.matching import Matches, match
from mixtransfer.detection.mistakes import KINDS, Mistakes, confusion, cost_of_mistakes, count_mistakes, judge
from mixtransfer.detection.scores import CocoScores, Detections, coco_results, coco_scores
from mixtransfer.detection.thresholds import above, f1_by_threshold


@dataclass(frozen=True)
class Assessment:
    """What a detector gets on images with boxes.

    Attributes:
        scores: Of all detections.
        intervals: 95 % intervals of AP and AP50, see ``mixtransfer.detection.bootstrap.intervals``.
        classes: Names, in the order of all that follows.
        boxes, images: Number of boxes of each class, and of images that have one, shape (classes,).
        thresholds: The score from which on each class's detections are shown.
        shown: These detections of each image.
        mistakes: Among these.
        confusion: Of these, see ``mixtransfer.detection.mistakes.confusion``.
        costs: By kind of mistake, among all detections, see ``cost_of_mistakes``.
        f1: At IoU 0.5 by threshold and class, see ``f1_by_threshold``.
    """

    scores: CocoScores
    intervals: dict[str, Interval] | None
    classes: list[str]
    boxes: np.ndarray
    images: np.ndarray
    thresholds: list[float]
    shown: list[Detections]
    mistakes: list[Mistakes]
    confusion: np.ndarray
    costs: dict[str, float | None]
    f1: np.ndarray

    @property
    def per_class(self) -> dict[str, dict[str, float | int | None]]:
        """By class: AP and AP50, boxes and images; and the threshold, with precision, recall and F1 from it on at IoU
        0.5, in percent, None where there is nothing to count."""
        found = {}
        precision_at_50 = self.scores.precision[0]
        for i, name in enumerate(self.classes):
            known = not np.isnan(precision_at_50[:, i]).any()
            found[name] = {
                "AP": self.scores.per_class[name],
                "AP50": float(100 * precision_at_50[:, i].mean()) if known else None,
                "boxes": int(self.boxes[i]),
                "images": int(self.images[i]),
                "threshold": self.thresholds[i],
                **self._at_threshold(slice(i, i + 1)),
            }
        return found

    def to_dict(self) -> dict:
        """For ``metrics.json``."""
        counts = count_mistakes(self.mistakes)
        return {
            **self.scores.to_dict(),
            **self._at_threshold(slice(len(self.classes))),
            "AP_interval": self.intervals and list(self.intervals["AP"]),
            "AP50_interval": self.intervals and list(self.intervals["AP50"]),
            "per_class": self.per_class,
            "mistakes": {kind: {"count": counts[kind], "dAP50": self.costs[kind]} for kind in KINDS},
        }

    def _at_threshold(self, chosen: slice) -> dict[str, float | None]:
        right = int(np.diag(self.confusion)[chosen].sum())
        shown, boxes = int(self.confusion[:, chosen].sum()), int(self.confusion[chosen].sum())
        return {
            "precision": 100 * right / shown if shown else None,
            "recall": 100 * right / boxes if boxes else None,
            "f1": 200 * right / (shown + boxes) if shown + boxes else None,
        }


def assess(
    records: Sequence[Record],
    detections: Sequence[Detections],
    classes: list[str],
    category_ids: list[int],
    thresholds: list[float],
) -> Assessment:
    """Score detections in every way.

    Args:
        records: The truth.
        detections: All of each image, in the same order.
        classes, category_ids: See ``DetectionDataset``.
        thresholds: One a class.
    """
    matches = matched(records, detections, classes, category_ids)
    shown = [above(found, thresholds) for found in detections]
    mistakes = [judge(record, found) for record, found in zip(records, shown, strict=True)]
    return Assessment(
        coco_scores(records, detections, classes, category_ids),
        intervals(matches),
        classes,
        matches.boxes.sum(axis=0),
        (matches.boxes > 0).sum(axis=0),
        thresholds,
        shown,
        mistakes,
        confusion(records, shown, mistakes, len(classes)),
        cost_of_mistakes(records, detections),
        f1_by_threshold(matches),
    )


def matched(
    records: Sequence[Record], detections: Sequence[Detections], classes: list[str], category_ids: list[int]
) -> Matches:
    """Detections held against the truth; for the arguments see ``assess``."""
    return match(coco_json(records, classes, category_ids), coco_results(detections, category_ids))
