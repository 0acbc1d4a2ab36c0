"""From which score on the detections of each class are shown: chosen on the validation images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixtransfer.common.messages import tell
from mixtransfer.data.lookup import some
from mixtransfer.detection.matching import Matches
from mixtransfer.detection.scores import Detections

USUAL = 0.4  # where nothing was chosen
FEW = 10  # boxes, below which a class is drawn towards all classes
_ROUNDING = 5e-6  # scores are compared after they were rounded to 1e-5, see ``coco_results``
GRID = np.linspace(0, 1, 101)


def choose(
    matches: Matches, classes: Sequence[str], min_precision: float | None = None, say: Callable[[str], None] = tell
) -> dict[str, float] | None:
    """Choose each class's threshold at IoU 0.5.

    It is the one with the best F1; where several are as good, the one nearest to that of all classes together. With
    ``min_precision`` it is the lowest score from which on the precision is that high. A class of fewer than ``FEW``
    boxes is drawn towards the threshold of all classes, the more the fewer it has.

    Args:
        matches: The detections of the validation images.
        classes: Names.
        min_precision: Between 0 and 1.
        say: Where sentences for the user go.

    Returns:
        By name; None where no box is found, so that there is nothing to choose by.
    """
    boxes = matches.boxes.sum(axis=0)
    every = _Curve.of(matches, np.arange(len(matches.score)), int(boxes.sum()))
    if every is None:
        say(f"No box of the validation part is found: detections are shown from a score of {USUAL} on.")
        return None
    pooled = every.best_f1(None) if min_precision is None else every.at_precision(min_precision)
    chosen, short, few = {}, [], []
    for label, name in enumerate(classes):
        curve = _Curve.of(matches, matches.of_class(label), int(boxes[label]))
        own = pooled
        if curve is not None:
            own = curve.best_f1(pooled) if min_precision is None else curve.at_precision(min_precision)
        highest = curve.precision.max() if curve is not None else 0.0
        if min_precision is not None and boxes[label] and highest < min_precision:
            short.append(f"{name} {highest:.2f}")
        share = min(1.0, boxes[label] / FEW)
        chosen[name] = round(float(share * own + (1 - share) * pooled), 6)
        few += [f"{name} {boxes[label]}"] if share < 1 else []
    if short:
        say(f"--min-precision {min_precision:g} is not reached on validation; the highest is taken: {some(short, 5)}.")
    if few and len(classes) > 1:
        say(
            f"Few boxes to validate on: the score thresholds of {some(few, 5)} are drawn towards {pooled:.2f}, that of "
            "all classes."
        )
    return chosen


@dataclass(frozen=True)
class _Curve:
    """What is kept from each score on, at all different scores from the highest to the lowest.

    Attributes:
        score: Shape (n,).
        kept, right: Number of detections, and of right ones.
        boxes: What there is to find.
    """

    score: np.ndarray
    kept: np.ndarray
    right: np.ndarray
    boxes: int

    @classmethod
    def of(cls, matches: Matches, rows: np.ndarray, boxes: int) -> "_Curve | None":
        """Of the detections ``rows``, best first; None if none is right."""
        rows = rows[matches.counts[0, rows]]
        if not matches.right[0, rows].any():
            return None
        score = matches.score[rows]
        last = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)
        return cls(score[last], last + 1, np.cumsum(matches.right[0, rows])[last], boxes)

    @property
    def precision(self) -> np.ndarray:
        return self.right / self.kept

    @property
    def f1(self) -> np.ndarray:
        return 2 * self.right / (self.kept + self.boxes)

    def best_f1(self, wish: float | None) -> float:
        """The threshold with the best F1 that is nearest to ``wish``, or without one the highest.

        Between two scores all thresholds are as good; where none is wished for, the middle is taken.
        """
        best = np.flatnonzero(self.f1 == self.f1.max())
        high, low = self.score[best] - _ROUNDING, np.append(self.score, 0.0)[best + 1] + _ROUNDING
        middle = (high + low) / 2
        if wish is None:
            return float(middle[0])
        near = np.where((low <= wish) & (wish <= high), wish, np.where(wish > high, high, middle))
        return float(near[np.abs(near - wish).argmin()])

    def at_precision(self, least: float) -> float:
        """The lowest threshold whose precision is ``least``; if none is, that of the highest precision."""
        reached = np.flatnonzero(self.precision >= min(least, self.precision.max()))
        return max(0.0, float(self.score[reached[-1]] - _ROUNDING))


def f1_by_threshold(matches: Matches) -> np.ndarray:
    """F1 at IoU 0.5 of each class from each score of ``GRID`` on: shape (101, classes), NaN for one without boxes."""
    boxes = matches.boxes.sum(axis=0)
    result = np.full((len(GRID), len(boxes)), np.nan)
    for label in np.flatnonzero(boxes):
        rows = matches.of_class(int(label))
        rows = rows[matches.counts[0, rows]]
        kept = np.searchsorted(-matches.score[rows], -GRID, side="right")
        right = np.append(0, np.cumsum(matches.right[0, rows]))[kept]
        result[:, label] = 2 * right / (kept + boxes[label])
    return result


def above(found: Detections, thresholds: "Sequence[float] | np.ndarray | float") -> Detections:
    """The detections that score more than the threshold: one, or one of each class."""
    least = np.asarray(thresholds, dtype=np.float32)
    return found.chosen(found.scores > (least[found.labels] if least.ndim else least))


def are_thresholds(value: Any, classes: Sequence[str]) -> bool:
    """Whether something is a threshold between 0 and 1 of each class, by name, as descriptions of models have it."""
    return (
        isinstance(value, dict)
        and value.keys() == set(classes)
        and all(type(one) in (int, float) and 0 <= one <= 1 for one in value.values())
    )


def of_each(stored: dict[str, float] | None, classes: Sequence[str]) -> list[float]:
    """A description's thresholds in the order of the classes; ``USUAL`` where it has none."""
    return [stored[name] if stored else USUAL for name in classes]
