"""Several labels an image: what a classifier says of each, and its scores with 95 % intervals."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.special import expit, logit

from mixtransfer.classification.metrics import Estimate, PointEstimate, calibration_bins, proportion

DRAWS = 1000  # of a bootstrap over images
AT_ONCE = 2_000_000  # weights of images in memory
LEAST = 1e-12  # probability


@dataclass(frozen=True)
class MultilabelPredictions:
    """What a classifier said of n images that may have several labels.

    Attributes:
        probabilities: Of each label by itself, shape (n, classes).
        labels: 0 and 1, shape (n, classes).
        thresholds: From which probability on an image is said to have each label, shape (classes,); None: from 0.5.
    """

    probabilities: np.ndarray
    labels: np.ndarray
    thresholds: np.ndarray | None = None

    @classmethod
    def from_logits(cls, logits: np.ndarray, labels: np.ndarray) -> "MultilabelPredictions":
        return cls(expit(logits.astype(np.float64)), labels)

    @cached_property
    def logits(self) -> np.ndarray:
        return logit(np.clip(self.probabilities.astype(np.float64), LEAST, 1 - LEAST))

    def at_temperature(self, temperature: float) -> "MultilabelPredictions":
        """With logits divided by ``temperature``."""
        return replace(self, probabilities=expit(self.logits / temperature))

    @cached_property
    def said(self) -> np.ndarray:
        """Which labels an image is said to have, bool, shape (n, classes)."""
        return self.probabilities >= (0.5 if self.thresholds is None else self.thresholds)

    @property
    def classes(self) -> int:
        return self.probabilities.shape[1]

    @cached_property
    def confidence(self) -> np.ndarray:
        """How probable what is more probable of each label is, on average, shape (n,)."""
        return np.maximum(self.probabilities, 1 - self.probabilities).mean(axis=1)

    @cached_property
    def drawn(self) -> "_Drawn":
        """Scores on ``DRAWS`` resamples of the images, the same of all predictions for as many."""
        return _draws(self, DRAWS)

    @cached_property
    def losses(self) -> np.ndarray:
        """Binary cross-entropy of each image in nats, mean over labels, shape (n,)."""
        right = np.where(self.labels, self.probabilities, 1 - self.probabilities)
        return -np.log(np.maximum(right, LEAST)).mean(axis=1)


def average_precisions(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Average precision of a ranking: the mean over positives of the precision down to each, as scikit-learn's.

    Args:
        labels: 0 and 1, shape (n,).
        scores: Shape (n,); equal ones are ranked together.
        weights: Of the images, shape (draws, n); by default 1, in one draw.

    Returns:
        Shape (draws,); NaN where no positive has a weight.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    weights = np.ones((1, len(scores))) if weights is None else weights
    weights = weights[:, order]
    positives = np.cumsum(weights * labels[order], axis=1)[:, ends]
    everything = np.cumsum(weights, axis=1)[:, ends]
    precision = positives / np.maximum(everything, 1e-12)
    gained = np.diff(positives, axis=1, prepend=0)
    total = positives[:, -1]
    return np.divide((gained * precision).sum(axis=1), total, where=total > 0, out=np.full(len(total), np.nan))


@dataclass(frozen=True)
class _Drawn:
    """Scores of each label, shape (draws, classes)."""

    precision: np.ndarray
    true: np.ndarray
    false: np.ndarray
    missed: np.ndarray

    @classmethod
    def of(cls, predictions: MultilabelPredictions, weights: np.ndarray) -> "_Drawn":
        labels, said = predictions.labels.astype(float), predictions.said.astype(float)
        columns = [
            average_precisions(labels[:, i], predictions.probabilities[:, i], weights)
            for i in range(predictions.classes)
        ]
        true = weights @ (labels * said)
        return cls(np.stack(columns, axis=1), true, weights @ said - true, weights @ labels - true)

    @property
    def f1(self) -> np.ndarray:
        """Of each label; NaN of those that no image has."""
        return np.where(self.true + self.missed > 0, f1_score(self.true, self.false, self.missed), np.nan)


def f1_score(true: np.ndarray, false: np.ndarray, missed: np.ndarray) -> np.ndarray:
    """F1 by counts of true and false positives and of false negatives; NaN where all are 0."""
    total = 2 * true + false + missed
    return np.divide(2 * true, total, where=total > 0, out=np.full(np.shape(total), np.nan))


def _draws(predictions: MultilabelPredictions, draws: int) -> "_Drawn":
    generator, n = np.random.default_rng(0), len(predictions.labels)
    step, parts = max(1, AT_ONCE // n), []
    for first in range(0, draws, step):
        weights = generator.multinomial(n, np.full(n, 1 / n), size=min(step, draws - first))
        parts.append(_Drawn.of(predictions, weights.astype(float)))
    return _Drawn(*(np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])))


def _estimate(value: float, draws: np.ndarray) -> Estimate:
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return Estimate(value, min(float(low), value), max(float(high), value))


def _mean(values: np.ndarray) -> np.ndarray:
    """Over the labels that have a value."""
    known = ~np.isnan(values)
    return np.where(known, values, 0).sum(axis=-1) / np.maximum(known.sum(axis=-1), 1)


def mean_average_precision(predictions: MultilabelPredictions) -> float:
    """Over the labels that an image has."""
    return float(_mean(_Drawn.of(predictions, np.ones((1, len(predictions.labels)))).precision)[0])


def resampled_precision(predictions: MultilabelPredictions) -> np.ndarray:
    """The mean average precision on ``DRAWS`` resamples of the images, the same of all predictions; shape (DRAWS,)."""
    return _mean(predictions.drawn.precision)


def score_labels(predictions: MultilabelPredictions, intervals: bool = True) -> dict[str, Estimate | PointEstimate]:
    """All scores of a test; intervals by a bootstrap over images (percentiles), of exact matches by Wilson's.

    Args:
        intervals: Whether they are wanted: of many images and labels they take seconds.

    Returns:
        ``mAP``, ``macro_f1`` and ``micro_f1`` at the thresholds, ``exact_match`` and ``calibration_error``. Means over
        labels leave out those that no image has.
    """
    whole = _Drawn.of(predictions, np.ones((1, len(predictions.labels))))
    drawn = predictions.drawn if intervals else whole

    def micro(scores: _Drawn) -> np.ndarray:
        return f1_score(scores.true.sum(1), scores.false.sum(1), scores.missed.sum(1))

    pooled = predictions.probabilities.ravel(), predictions.labels.ravel().astype(bool)
    error = sum(n * abs(c - h) for c, h, n in calibration_bins(*pooled)) / len(pooled[0])
    # Of few images or labels nothing may be said and nothing there: that is no mistake.
    return {
        "mAP": _estimate(float(_mean(whole.precision)[0]), _mean(drawn.precision)),
        "macro_f1": _estimate(float(_mean(whole.f1)[0]), _mean(drawn.f1)),
        "micro_f1": _estimate(float(np.nan_to_num(micro(whole))[0]), np.nan_to_num(micro(drawn))),
        "exact_match": proportion((predictions.said == predictions.labels.astype(bool)).all(axis=1)),
        "calibration_error": PointEstimate(float(error), "No interval: on few images chance alone makes it larger."),
    }


def per_label(predictions: MultilabelPredictions, classes: list[str]) -> list[dict]:
    """A row a label: name, images that have it, average precision (with interval), precision, recall, F1, threshold."""
    whole, drawn = _Drawn.of(predictions, np.ones((1, len(predictions.labels)))), predictions.drawn
    thresholds = np.full(len(classes), 0.5) if predictions.thresholds is None else predictions.thresholds
    rows = []
    for i, name in enumerate(classes):
        true, false, missed = (float(part[0, i]) for part in (whole.true, whole.false, whole.missed))
        images = int(predictions.labels[:, i].sum())
        value = float(whole.precision[0, i])
        rows.append(
            {
                "class": name,
                "images": images,
                "average_precision": _estimate(value, drawn.precision[:, i]) if images else None,
                "precision": true / (true + false) if true + false else None,
                "recall": true / (true + missed) if images else None,
                "f1": float(whole.f1[0, i]) if images else None,
                "threshold": float(thresholds[i]),
            }
        )
    return rows
