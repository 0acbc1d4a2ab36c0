"""Correcting what is said of each label, and from which probability on an image is said to have it."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from mixtransfer.classification.multilabel import MultilabelPredictions, f1_score

# Standard deviations of the correction of a label, as a factor (its logarithm) and as a shift of the logit: what is
# believed of it before an image is seen, so that a label of few images is corrected little.
SCALE_SPREAD, SHIFT_SPREAD = 0.5, 1.0
SHARED = 10  # images with a label that all labels together count for in the choice of each one's threshold


@dataclass(frozen=True)
class LabelCalibration:
    """How each label's logit is corrected, and its threshold; all of shape (classes,)."""

    scale: np.ndarray
    shift: np.ndarray
    thresholds: np.ndarray

    def apply(self, predictions: MultilabelPredictions) -> MultilabelPredictions:
        """Predictions as the corrected network makes them, with the thresholds."""
        corrected = expit(predictions.logits * self.scale + self.shift)
        return MultilabelPredictions(corrected, predictions.labels, self.thresholds)


def calibrate_labels(predictions: MultilabelPredictions, corrects: bool = True) -> LabelCalibration:
    """What images that were not trained on say of each label: a correction, and a threshold for the corrected.

    The correction is a logistic regression on the label's own logit (Platt, 1999), drawn towards none.

    Args:
        corrects: Whether the network can be corrected; otherwise the thresholds are for what it says.
    """
    classes = predictions.classes
    scale, shift = np.ones(classes), np.zeros(classes)
    for i in range(classes) if corrects else ():
        scale[i], shift[i] = _platt(predictions.logits[:, i], predictions.labels[:, i])
    corrected = expit(predictions.logits * scale + shift)
    return LabelCalibration(scale, shift, choose_thresholds(MultilabelPredictions(corrected, predictions.labels)))


def _platt(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    def cost(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        scale = np.exp(parameters[0])
        z = scale * logits + parameters[1]
        gap = expit(z) - labels
        loss = (np.logaddexp(0, z) - labels * z).sum()
        held = parameters / np.square([SCALE_SPREAD, SHIFT_SPREAD])
        return loss + (held * parameters).sum() / 2, np.array([(gap * logits).sum() * scale, gap.sum()]) + held

    found = minimize(cost, np.zeros(2), jac=True, method="L-BFGS-B").x
    return float(np.exp(found[0])), float(found[1])


def choose_thresholds(predictions: MultilabelPredictions) -> np.ndarray:
    """The threshold of each label with the best F1, shape (classes,).

    A few images cannot tell thresholds apart, so what all labels together say counts too, as much as ``SHARED`` images
    with the label would.
    """
    probabilities, labels = predictions.probabilities, predictions.labels.astype(float)
    everything = _Counts(probabilities.ravel(), labels.ravel())
    shared = SHARED / max(everything.positives, 1)
    thresholds = np.empty(predictions.classes)
    for i in range(predictions.classes):
        own = _Counts(probabilities[:, i], labels[:, i])
        candidates = own.candidates()
        counts = [
            mine + shared * all_ for mine, all_ in zip(own.at(candidates), everything.at(candidates), strict=True)
        ]
        f1 = np.nan_to_num(f1_score(*counts))
        best = np.flatnonzero(f1 >= f1.max() - 1e-12)
        thresholds[i] = candidates[best[len(best) // 2]]
    return thresholds


class _Counts:
    """True and false positives and false negatives at any threshold."""

    def __init__(self, probabilities: np.ndarray, labels: np.ndarray):
        order = np.argsort(probabilities, kind="stable")
        self.sorted = probabilities[order]
        self.below = np.concatenate([[0.0], np.cumsum(labels[order])])  # positives among the so many lowest
        self.positives = self.below[-1]

    def candidates(self) -> np.ndarray:
        """What lies between neighbouring probabilities."""
        values = np.unique(self.sorted)
        return (values[1:] + values[:-1]) / 2 if len(values) > 1 else np.array([0.5])

    def at(self, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        lower = np.searchsorted(self.sorted, thresholds, side="left")
        missed = self.below[lower]
        true = self.positives - missed
        return true, len(self.sorted) - lower - true, missed
