"""What differs between images of one class each and those that may have several labels, chosen by the labels' shape."""

import numpy as np

from mixtransfer.classification.metrics import Estimate, PointEstimate, Predictions, score_classes
from mixtransfer.classification.multilabel import MultilabelPredictions, mean_average_precision, score_labels
from mixtransfer.data.labels import is_multilabel

AnyPredictions = Predictions | MultilabelPredictions


def predictions_of(probabilities: np.ndarray, labels: np.ndarray) -> AnyPredictions:
    """Probabilities (n, classes) beside what is true; see ``mixtransfer.data.labels``."""
    return (MultilabelPredictions if is_multilabel(labels) else Predictions)(probabilities, labels)


def predictions_from_logits(logits: np.ndarray, labels: np.ndarray) -> AnyPredictions:
    """The same, of logits (n, classes)."""
    return (MultilabelPredictions if is_multilabel(labels) else Predictions).from_logits(logits, labels)


def score(predictions: AnyPredictions, intervals: bool = True) -> dict[str, Estimate | PointEstimate]:
    """All scores of a test; see ``score_classes`` and ``score_labels``. The first is the one that decides."""
    if isinstance(predictions, MultilabelPredictions):
        return score_labels(predictions, intervals)
    return score_classes(predictions)


def in_words(predictions: AnyPredictions) -> str:
    """How good predictions are, in a few words after "has"."""
    images = len(predictions.labels)
    if isinstance(predictions, MultilabelPredictions):
        return f"a mean average precision of {100 * mean_average_precision(predictions):.1f} % on {images} images"
    right = (predictions.predicted == predictions.labels).mean()
    return f"{100 * right:.1f} % of {images} images right"
