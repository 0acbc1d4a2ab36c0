"""Scores against independent implementations, and intervals against closed forms."""

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score, log_loss, top_k_accuracy_score
from torchmetrics.functional.classification import multiclass_calibration_error

from mixtransfer.classification import metrics


@pytest.fixture(params=[(3, 50), (12, 400)], ids=["few", "many"])
def predictions(request):
    classes, images = request.param
    generator = np.random.default_rng(1)
    labels = np.concatenate([np.arange(classes), generator.integers(0, classes, images - classes)])
    logits = generator.normal(size=(images, classes)) + 1.5 * np.eye(classes)[labels]
    return metrics.Predictions.from_logits(logits, labels)


def test_scores_agree_with_scikit_learn_and_torchmetrics(predictions):
    labels, predicted = predictions.labels, predictions.predicted
    scores = metrics.score(predictions)
    assert scores["top1"].value == pytest.approx((labels == predicted).mean())
    assert scores["mean_class_accuracy"].value == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert scores["macro_f1"].value == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert metrics.log_loss(predictions) == pytest.approx(log_loss(labels, predictions.probabilities))
    np.testing.assert_array_equal(predictions.confusion, confusion_matrix(labels, predicted))
    expected = multiclass_calibration_error(
        torch.from_numpy(predictions.probabilities), torch.from_numpy(labels), predictions.classes, n_bins=15
    )
    assert scores["calibration_error"].value == pytest.approx(float(expected), abs=1e-6)
    if predictions.classes > 5:
        expected = top_k_accuracy_score(labels, predictions.probabilities, k=5)
        assert scores["top5"].value == pytest.approx(expected)
    else:
        assert "top5" not in scores


def test_intervals_hold_their_values(predictions):
    for estimate in metrics.score(predictions).values():
        assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


def test_wilson_interval_in_closed_form():
    hits, n, z = 90, 100, 1.959963984540054
    estimate = metrics.proportion(np.arange(n) < hits)
    p = hits / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert (estimate.low, estimate.high) == pytest.approx((centre - half, centre + half))


def test_bootstrap_agrees_with_wilson_where_both_apply():
    """With equal class sizes mean per-class accuracy is accuracy, so both intervals must nearly agree."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 100)
    predicted = np.where(generator.random(400) < 0.8, labels, (labels + 1) % 4)
    scores = metrics.score(metrics.Predictions(np.eye(4)[predicted], labels))
    assert scores["mean_class_accuracy"].low == pytest.approx(scores["top1"].low, abs=0.015)
    assert scores["mean_class_accuracy"].high == pytest.approx(scores["top1"].high, abs=0.015)


def test_per_class_rows(predictions):
    names = [f"class {i}" for i in range(predictions.classes)]
    rows = metrics.per_class(predictions, names)
    assert [row["class"] for row in rows] == names
    assert sum(row["images"] for row in rows) == len(predictions.labels)
