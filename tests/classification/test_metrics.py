"""Scores against independent implementations, and intervals against closed forms."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import norm
from sklearn.metrics import log_loss, top_k_accuracy_score
from torchmetrics.functional.classification import multiclass_calibration_error, multiclass_confusion_matrix

from mixtransfer.classification import metrics
from mixtransfer.classification.intervals import class_mean_intervals


@pytest.fixture(params=[(3, 50), (12, 400)], ids=["few", "many"])
def predictions(request):
    classes, images = request.param
    generator = np.random.default_rng(1)
    labels = np.concatenate([np.arange(classes), generator.integers(0, classes, images - classes)])
    logits = generator.normal(size=(images, classes)) + 1.5 * np.eye(classes)[labels]
    return metrics.Predictions.from_logits(logits, labels)


def test_scores_agree_with_scikit_learn_and_torchmetrics(predictions):
    labels, predicted = predictions.labels, predictions.predicted
    scores = metrics.score_classes(predictions)
    assert scores["top1"].value == pytest.approx((labels == predicted).mean())
    counts = multiclass_confusion_matrix(*map(torch.from_numpy, (predicted, labels)), predictions.classes).numpy()
    right, true, said = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    assert scores["mean_class_accuracy"].value == pytest.approx(np.mean(right / true), rel=1e-12)
    assert scores["macro_f1"].value == pytest.approx(np.mean(2 * right / (true + said)), rel=1e-12)
    np.testing.assert_array_equal(predictions.confusion, counts)
    assert predictions.losses.mean() == pytest.approx(log_loss(labels, predictions.probabilities))
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
    scores = metrics.score_classes(predictions)
    assert scores.pop("calibration_error").to_dict()["low"] is None  # of few images chance alone makes it larger
    for estimate in scores.values():
        assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


def test_wilson_interval_in_closed_form():
    hits, n, z = 90, 100, 1.959963984540054
    estimate = metrics.proportion(np.arange(n) < hits)
    p = hits / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert (estimate.low, estimate.high) == pytest.approx((centre - half, centre + half))


def test_mean_class_accuracy_of_equal_classes_has_nearly_the_interval_of_accuracy():
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 100)
    predicted = np.where(generator.random(400) < 0.8, labels, (labels + 1) % 4)
    scores = metrics.score_classes(metrics.Predictions(np.eye(4)[predicted], labels))
    assert scores["mean_class_accuracy"].low == pytest.approx(scores["top1"].low, abs=0.015)
    assert scores["mean_class_accuracy"].high == pytest.approx(scores["top1"].high, abs=0.015)


@pytest.mark.parametrize("images", [3, 10, 100])
@pytest.mark.parametrize("accuracies", [np.linspace(0.3, 1, 8), np.full(8, 0.95)], ids=["mixed", "high"])
def test_intervals_of_class_means_cover_the_truth(images, accuracies):
    """Of 400 test sets that are drawn from known chances, at least 92 % have the truth in their interval."""
    classes = len(accuracies)
    generator = np.random.default_rng(0)
    chances = generator.dirichlet(np.full(classes, 0.3), classes)
    np.fill_diagonal(chances, 0)
    chances *= ((1 - accuracies) / chances.sum(axis=1))[:, None]
    np.fill_diagonal(chances, accuracies)
    expected = images * chances
    truth = accuracies.mean(), (2 * np.diag(expected) / (images + expected.sum(axis=0))).mean()
    covered = np.zeros(2)
    for _ in range(400):
        found = class_mean_intervals(np.stack([generator.multinomial(images, row) for row in chances]))
        covered += [low <= true <= high for true, (low, high) in zip(truth, found, strict=True)]
    assert (covered / 400 >= 0.92).all(), covered / 400
    assert (covered / 400 <= 0.995).all(), covered / 400  # nor are they so wide that they say nothing


def test_one_image_a_class_has_an_interval_of_some_width():
    """A bootstrap within classes draws the same images again and again, and is sure of itself."""
    scores = metrics.score_classes(metrics.Predictions(np.eye(20), np.arange(20)))
    accuracy = scores["mean_class_accuracy"]
    assert accuracy.value == accuracy.high == 1 and accuracy.low < 0.9
    assert "fewer than 2 images" in scores["macro_f1"].to_dict()["reason"]


def test_per_class_rows(predictions):
    names = [f"class {i}" for i in range(predictions.classes)]
    rows = metrics.per_class(predictions, names)
    assert [row["class"] for row in rows] == names
    assert sum(row["images"] for row in rows) == len(predictions.labels)


def test_probabilities_are_the_softmax_of_logits_and_temperatures_divide_these():
    logits = np.array([[1.0, -2.0, 0.5], [900.0, -30.0, 899.0], [0.0, -800.0, -801.0]])
    made = metrics.Predictions.from_logits(logits, np.zeros(3, int))
    np.testing.assert_allclose(made.probabilities, softmax(logits, axis=1), atol=1e-12)
    np.testing.assert_allclose(made.at_temperature(2.5).probabilities[:1], softmax(logits[:1] / 2.5, axis=1))
    # Nothing is infinitely sure: log 0 is taken as that of 1e-12.
    cold = metrics.Predictions(np.array([[1.0, 0.0]]), np.zeros(1, int)).at_temperature(2.0)
    np.testing.assert_allclose(cold.probabilities, [[1 / (1 + 1e-6), 1e-6 / (1 + 1e-6)]])


def test_the_mean_log_loss_has_its_normal_interval(predictions):
    losses = -np.log(predictions.probabilities[np.arange(len(predictions.labels)), predictions.labels])
    low, high = norm.interval(0.95, losses.mean(), losses.std() / np.sqrt(len(losses)))
    estimate = metrics.mean_log_loss(predictions.losses)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((losses.mean(), low, high), rel=1e-4)


def test_bins_of_calibration():
    """Fifteen of one width; all that is certain belongs to the last."""
    bins = metrics.calibration_bins(np.array([0.0, 0.5, 0.5, 0.95, 1.0]), np.array([1, 1, 0, 1, 1]))
    assert bins == [(0.0, 1.0, 1), (0.5, 0.5, 2), (0.975, 1.0, 2)]


def test_a_class_that_is_nowhere_does_not_count_and_one_that_is_only_predicted_has_an_f1_of_0(recwarn):
    labels, predicted = np.repeat([0, 0, 1], [3, 1, 4]), np.repeat([0, 1, 1], [3, 1, 4])
    scores = metrics.score_classes(metrics.Predictions(np.eye(3)[predicted], labels))
    assert scores["mean_class_accuracy"].value == pytest.approx((0.75 + 1) / 2)
    assert scores["macro_f1"].value == pytest.approx((6 / 7 + 8 / 9) / 2)
    scores = metrics.score_classes(metrics.Predictions(np.eye(3)[np.where(predicted == 1, 2, 0)], labels))
    assert scores["mean_class_accuracy"].value == pytest.approx(0.75 / 2)
    assert scores["macro_f1"].value == pytest.approx((6 / 7) / 3)
    assert not recwarn.list


def test_scores_in_words_and_in_metrics_json():
    estimate = metrics.Estimate(0.87654, 0.8123, 0.9)
    assert str(estimate) == "87.65 % (81.2–90.0)"
    assert metrics.selected_on(estimate) == {"value": 0.87654, "low": None, "high": None, "selected_on": True}
    assert str(metrics.PointEstimate(0.5, "why")) == "50.00 %"


def test_rows_of_classes_by_hand():
    """Of four cats one is taken for a dog, of two dogs both for an emu, of no emu anything."""
    labels, predicted = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 2, 2])
    cat, dog, emu = metrics.per_class(metrics.Predictions(np.eye(3)[predicted], labels), ["cat", "dog", "emu"])
    assert (cat["images"], dog["images"], emu["images"]) == (4, 2, 0)
    assert cat["accuracy"].value == 0.75 and dog["accuracy"].value == 0 and emu["accuracy"] is None
    assert (cat["precision"], dog["precision"], emu["precision"]) == (1.0, 0.0, 0.0)
    assert (cat["confused_with"], dog["confused_with"], emu["confused_with"]) == ("dog", "emu", "")
