"""Scores of a classifier, with 95 % intervals where there is one that holds."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import softmax
from scipy.stats import binned_statistic, binomtest
from sklearn.metrics import confusion_matrix, f1_score, recall_score

from mixtransfer.classification.intervals import class_mean_intervals

SCORE_NAMES = {
    "mAP": "Mean average precision",
    "top1": "Top-1 accuracy",
    "top5": "Top-5 accuracy",
    "mean_class_accuracy": "Mean per-class accuracy",
    "macro_f1": "Macro F1",
    "micro_f1": "Micro F1",
    "exact_match": "All labels right",
    "calibration_error": "Calibration error",
}
CALIBRATION_BINS = 15


@dataclass(frozen=True)
class Estimate:
    """A score with the bounds of its 95 % interval, all fractions."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        return {"value": self.value, "low": self.low, "high": self.high}

    def __str__(self) -> str:
        return f"{100 * self.value:.2f} % ({100 * self.low:.1f}–{100 * self.high:.1f})"


@dataclass(frozen=True)
class PointEstimate:
    """A score, a fraction, that has no interval, and why."""

    value: float
    reason: str

    def to_dict(self) -> dict[str, float | str | None]:
        return {"value": self.value, "low": None, "high": None, "reason": self.reason}

    def __str__(self) -> str:
        return f"{100 * self.value:.2f} %"


@dataclass(frozen=True)
class Predictions:
    """What a classifier said of n images.

    Attributes:
        probabilities: Shape (n, classes), rows sum to 1.
        labels: True classes, shape (n,).
    """

    probabilities: np.ndarray
    labels: np.ndarray

    @classmethod
    def from_logits(cls, logits: np.ndarray, labels: np.ndarray) -> "Predictions":
        return cls(softmax(logits.astype(np.float64), axis=1), labels)

    def at_temperature(self, temperature: float) -> "Predictions":
        """With logits divided by ``temperature``."""
        logits = np.log(np.maximum(self.probabilities, 1e-12))
        return Predictions.from_logits(logits / temperature, self.labels)

    @cached_property
    def predicted(self) -> np.ndarray:
        return self.probabilities.argmax(axis=1)

    @cached_property
    def confidence(self) -> np.ndarray:
        return self.probabilities.max(axis=1)

    @property
    def classes(self) -> int:
        return self.probabilities.shape[1]

    @cached_property
    def confusion(self) -> np.ndarray:
        """Counts of (true, predicted) classes, shape (classes, classes)."""
        return confusion_matrix(self.labels, self.predicted, labels=np.arange(self.classes))

    @cached_property
    def losses(self) -> np.ndarray:
        """Cross-entropy of each image in nats, shape (n,)."""
        true = self.probabilities[np.arange(len(self.labels)), self.labels]
        return -np.log(np.maximum(true, 1e-12))

    def in_top(self, k: int) -> np.ndarray:
        """Whether the true class is among the k most probable, shape (n,)."""
        true = self.probabilities[np.arange(len(self.labels)), self.labels]
        return (self.probabilities > true[:, None]).sum(axis=1) < k


def mean_log_loss(losses: np.ndarray) -> Estimate:
    """Mean of images' cross-entropies in nats, with its 95 % interval by their spread."""
    half = 1.96 * float(losses.std()) / len(losses) ** 0.5
    return Estimate(float(losses.mean()), float(losses.mean()) - half, float(losses.mean()) + half)


def selected_on(estimate: "Estimate | PointEstimate") -> dict[str, Any]:
    """For ``metrics.json``: a score on images that chose something, which has no interval."""
    return {"value": estimate.value, "low": None, "high": None, "selected_on": True}


def proportion(hits: np.ndarray) -> Estimate:
    """The share of true values with its Wilson interval (Wilson, JASA 1927).

    Examples:
        >>> estimate = proportion(np.array([True, True, True, False]))
        >>> estimate.value, round(estimate.low, 2), round(estimate.high, 2)
        (0.75, 0.3, 0.95)
    """
    interval = binomtest(int(hits.sum()), len(hits)).proportion_ci(0.95, method="wilson")
    return Estimate(float(hits.mean()), float(interval.low), float(interval.high))


def calibration_bins(confidence: np.ndarray, hits: np.ndarray) -> list[tuple[float, float, int]]:
    """Mean confidence, accuracy and count of every non-empty bin of equal width."""
    given = [confidence, hits, np.ones_like(confidence)]
    sums = binned_statistic(confidence, given, "sum", CALIBRATION_BINS, (0, 1)).statistic
    return [(float(c / n), float(h / n), int(n)) for c, h, n in sums.T if n]


def calibration_error(confidence: np.ndarray, hits: np.ndarray) -> float:
    """Expected calibration error: mean gap between confidence and accuracy (Guo et al., ICML 2017)."""
    return sum(n * abs(c - h) for c, h, n in calibration_bins(confidence, hits)) / len(hits)


def score_classes(predictions: Predictions) -> dict[str, Estimate | PointEstimate]:
    """All scores of a test; for the intervals see ``intervals``.

    Returns:
        ``top1``, ``top5`` (with five classes or fewer: absent), ``mean_class_accuracy``, ``macro_f1`` and
        ``calibration_error``.
    """
    hits = predictions.predicted == predictions.labels
    confusion = predictions.confusion
    scores: dict[str, Estimate | PointEstimate] = {"top1": proportion(hits)}
    if predictions.classes > 5:
        scores["top5"] = proportion(predictions.in_top(5))
    accuracy, f1 = class_mean_intervals(confusion)
    labels, predicted = predictions.labels, predictions.predicted
    recall = float(recall_score(labels, predicted, labels=np.unique(labels), average="macro"))
    scores["mean_class_accuracy"] = Estimate(recall, *accuracy)
    value = float(f1_score(labels, predicted, average="macro"))  # of the classes that are labels or predicted
    scores["macro_f1"] = (
        Estimate(value, *f1) if f1 else PointEstimate(value, "No interval: fewer than 2 images of most classes.")
    )
    scores["calibration_error"] = PointEstimate(
        calibration_error(predictions.confidence, hits), "No interval: on few images chance alone makes it larger."
    )
    return scores


def per_class(predictions: Predictions, classes: list[str]) -> list[dict]:
    """A row a class: name, images, accuracy (with interval), precision, and its most frequent confusion."""
    confusion = predictions.confusion
    rows = []
    for i, name in enumerate(classes):
        wrong = confusion[i].copy()
        wrong[i] = 0
        images = int(confusion[i].sum())
        rows.append(
            {
                "class": name,
                "images": images,
                "accuracy": proportion(predictions.predicted[predictions.labels == i] == i) if images else None,
                "precision": float(confusion[i, i] / confusion[:, i].sum()) if confusion[:, i].any() else None,
                "confused_with": classes[int(wrong.argmax())] if wrong.any() else "",
            }
        )
    return rows
