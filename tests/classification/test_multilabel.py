"""Several labels an image: predictions, scores, thresholds, corrections, heads and losses, against references."""

import numpy as np
import pytest
import torch
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score, log_loss
from timm.loss import AsymmetricLossMultiLabel
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from mixtransfer.backbones import create_backbone
from mixtransfer.classification.head import Features, fit_each_label, fit_linear_head
from mixtransfer.classification.kinds import predictions_from_logits, predictions_of, score
from mixtransfer.classification.known_fit import _nearest, fit_known_score
from mixtransfer.classification.label_calibration import calibrate_labels, choose_thresholds
from mixtransfer.classification.label_report import worst_mistakes
from mixtransfer.classification.loss import evaluation_loss, label_distillation_losses, of_an_epoch, training_losses
from mixtransfer.classification.module import ImageClassifier
from mixtransfer.classification.multilabel import MultilabelPredictions, average_precisions, per_label, score_labels
from mixtransfer.classification.recipe import Recipe
from mixtransfer.classification.selection import judge
from mixtransfer.errors import UserError, ValueRefused


@pytest.fixture
def predictions():
    """Of 200 images and 5 labels, the rarest on some 10."""
    return drawn(200, seed=0)


def drawn(images, seed, scale=1.0, shift=0.0):
    generator = np.random.default_rng(seed)
    logits = generator.normal(np.linspace(0, -3, 5), 1.5, (images, 5))
    labels = (generator.random((images, 5)) < expit(logits)).astype(np.uint8)
    return MultilabelPredictions.from_logits((logits - shift) / scale, labels)


def test_average_precision_is_scikit_learns_with_ties_and_weights():
    generator = np.random.default_rng(0)
    labels = (generator.random(300) < 0.2).astype(float)
    scores = np.round(generator.random(300) + 0.3 * labels, 1)
    weights = generator.multinomial(300, np.full(300, 1 / 300), size=4).astype(float)
    assert average_precisions(labels, scores)[0] == pytest.approx(average_precision_score(labels, scores))
    expected = [average_precision_score(labels, scores, sample_weight=row) for row in weights]
    np.testing.assert_allclose(average_precisions(labels, scores, weights), expected)
    assert np.isnan(average_precisions(np.zeros(3), np.arange(3.0))).all()


def test_scores_are_scikit_learns(predictions):
    thresholds = np.array([0.5, 0.4, 0.3, 0.2, 0.1])
    predictions = MultilabelPredictions(predictions.probabilities, predictions.labels, thresholds)
    labels, said = predictions.labels, (predictions.probabilities >= thresholds).astype(int)
    scores = score(predictions)
    assert next(iter(scores)) == "mAP"  # the one that decides
    assert scores["mAP"].value == pytest.approx(
        average_precision_score(labels, predictions.probabilities, average="macro")
    )
    for average in ("macro", "micro"):
        assert scores[f"{average}_f1"].value == pytest.approx(f1_score(labels, said, average=average))
    assert scores["exact_match"].value == pytest.approx((labels == said).all(1).mean())
    assert all(one.low < one.value < one.high for name, one in scores.items() if name != "calibration_error")
    expected = np.mean(
        [log_loss(row, p, labels=[0, 1]) for row, p in zip(labels, predictions.probabilities, strict=True)]
    )
    assert predictions.losses.mean() == pytest.approx(expected)
    rows = per_label(predictions, list("abcde"))
    assert [row["threshold"] for row in rows] == thresholds.tolist()
    assert rows[3]["f1"] == pytest.approx(f1_score(labels[:, 3], said[:, 3]))
    assert rows[3]["recall"] == pytest.approx(said[labels[:, 3] == 1, 3].mean())
    assert rows[3]["precision"] == pytest.approx(labels[said[:, 3] == 1, 3].mean())


def test_labels_that_no_image_has_are_left_out_of_means(predictions):
    bare = np.concatenate([predictions.labels, np.zeros((200, 1), np.uint8)], axis=1)
    more = np.concatenate([predictions.probabilities, np.full((200, 1), 0.01)], axis=1)
    scores, whole = score_labels(MultilabelPredictions(more, bare)), score_labels(predictions)
    assert scores["mAP"].value == pytest.approx(whole["mAP"].value)
    assert scores["macro_f1"].value == pytest.approx(whole["macro_f1"].value)
    row = per_label(MultilabelPredictions(more, bare), list("abcdef"))[-1]
    assert row["average_precision"] is row["recall"] is row["f1"] is None


def test_the_interval_covers_what_more_images_say():
    """The mean over other test sets of as many images: a bootstrap of a ranking is a little too high at so few."""
    truth = score_labels(drawn(40_000, seed=99), intervals=False)["mAP"].value
    inside = []
    for seed in range(60):
        one = score_labels(drawn(300, seed=seed))["mAP"]
        inside.append(one.low <= truth <= one.high)
    assert np.mean(inside) >= 0.85


def test_thresholds_have_the_best_f1_where_images_are_many():
    many = drawn(20_000, seed=1)
    chosen = choose_thresholds(many)
    for i in range(5):
        grid = np.linspace(0.02, 0.9, 200)
        best = max(f1_score(many.labels[:, i], many.probabilities[:, i] >= t) for t in grid)
        assert f1_score(many.labels[:, i], many.probabilities[:, i] >= chosen[i]) > best - 0.005


def test_a_label_of_one_image_takes_its_threshold_from_all():
    few = drawn(200, seed=2)
    labels = few.labels.copy()
    labels[:, 4] = 0
    labels[few.probabilities[:, 4].argmin(), 4] = 1  # alone it would say that every image has the label
    own = choose_thresholds(MultilabelPredictions(few.probabilities, labels))
    assert own[4] > 0.1


def test_a_correction_is_found_where_images_are_many_and_hardly_made_where_they_are_few():
    many = calibrate_labels(drawn(20_000, seed=3, scale=2.0, shift=0.5))
    np.testing.assert_allclose(many.scale, 2, rtol=0.1)
    np.testing.assert_allclose(many.shift, 0.5, atol=0.15)
    skewed = drawn(20_000, seed=3, scale=2.0, shift=0.5)
    assert many.apply(skewed).losses.mean() < skewed.losses.mean()
    assert many.apply(skewed).thresholds is many.thresholds
    few = calibrate_labels(drawn(6, seed=3, scale=2.0, shift=0.5))
    assert (np.abs(np.log(few.scale)) < 0.5).all()
    alone = calibrate_labels(drawn(500, seed=4), corrects=False)
    assert (alone.scale == 1).all() and (alone.shift == 0).all()


def test_one_temperature_calibrates_all_labels():
    cold = drawn(20_000, seed=5, scale=0.5)
    assert judge(cold).temperature == pytest.approx(2, rel=0.05)
    np.testing.assert_allclose(logit(cold.at_temperature(2.0).probabilities), logit(cold.probabilities) / 2, rtol=1e-6)


def test_the_kind_of_predictions_is_that_of_the_labels():
    logits = np.zeros((2, 3))
    assert predictions_from_logits(logits, np.array([0, 1])).probabilities[0, 0] == pytest.approx(1 / 3)
    assert predictions_from_logits(logits, np.zeros((2, 3), np.uint8)).probabilities[0, 0] == 0.5
    assert predictions_of(logits, np.zeros((2, 3), np.uint8)).losses.shape == (2,)


def test_each_label_has_scikit_learns_regression():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(150, 12))
    labels = (x[:, :4] + generator.normal(size=(150, 4)) > [0, 0.5, 1, 1.5]).astype(np.uint8)
    weights, biases = fit_each_label(x, labels, 0.3)
    for i in range(4):
        expected = LogisticRegression(C=0.3, tol=1e-8, max_iter=1000).fit(x, labels[:, i])
        np.testing.assert_allclose(weights[i], expected.coef_[0], atol=2e-3)
        assert biases[i] == pytest.approx(expected.intercept_[0], abs=2e-3)


def test_a_head_of_raw_features_answers_as_that_of_scaled_ones():
    generator = np.random.default_rng(1)
    x = generator.normal(3, 7, (80, 6)).astype(np.float32)
    labels = np.stack([x[:, 0] > 3, x[:, 1] > 9], axis=1).astype(np.uint8)
    head = fit_linear_head(Features(x, labels), 1.0)
    weights, biases = fit_each_label((x - x.mean(0)) / x.std(), labels, 1.0)
    np.testing.assert_allclose(head.logits(x), (x - x.mean(0)) / x.std() @ weights.T + biases, atol=1e-3)


def test_a_label_that_all_images_have_stays_at_its_frequency():
    x = np.random.default_rng(0).normal(size=(20, 3))
    labels = np.stack([np.ones(20), np.zeros(20), x[:, 0] > 0], axis=1).astype(np.uint8)
    weights, biases = fit_each_label(x, labels, 1.0)
    assert not weights[:2].any() and biases[:2] == pytest.approx([logit(20.5 / 21), logit(0.5 / 21)])
    assert weights[2, 0] > 0.5


@pytest.mark.parametrize("loss", ["bce", "focal", "asymmetric"])
def test_losses_are_those_of_torch_torchvision_and_timm(loss):
    torch.manual_seed(0)
    logits, labels = torch.randn(8, 5, dtype=torch.float64), (torch.rand(8, 5) < 0.3).double()
    losses = training_losses(logits, labels, Recipe(loss=loss, label_smoothing=0))
    assert losses.shape == (8,)
    if loss == "bce":
        expected = F.binary_cross_entropy_with_logits(logits, labels)
        assert float(evaluation_loss(logits, labels.byte())) == pytest.approx(float(expected))
    elif loss == "focal":
        expected = sigmoid_focal_loss(logits, labels, alpha=-1, gamma=2, reduction="mean")
    else:
        expected = AsymmetricLossMultiLabel(gamma_neg=4, gamma_pos=0, clip=0.05)(logits, labels) / labels.shape[1]
    assert float(losses.mean()) == pytest.approx(float(expected), rel=1e-6)


def test_smoothing_spreads_over_all_labels():
    logits, labels = torch.zeros(1, 4), torch.tensor([[1, 0, 0, 0]])
    smoothed = training_losses(logits + 3, labels, Recipe(loss="bce", label_smoothing=0.2))
    targets = torch.tensor([[0.85, 0.05, 0.05, 0.05]])
    assert float(smoothed) == pytest.approx(float(F.binary_cross_entropy_with_logits(logits + 3, targets)))


def test_distillation_vanishes_where_the_answers_are_the_teachers():
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(label_distillation_losses(logits, logits), 0, atol=1e-6)
    other = logits + torch.tensor([0.0, 1.0, 0.0])
    own, expected = torch.sigmoid(other / 2), torch.sigmoid(logits / 2)
    divergence = expected * (expected / own).log() + (1 - expected) * ((1 - expected) / (1 - own)).log()
    np.testing.assert_allclose(label_distillation_losses(other, logits), 4 * divergence.mean(1), rtol=1e-4, atol=1e-6)


def test_a_recipe_says_its_kind():
    assert Recipe(loss="asymmetric").multilabel and not Recipe().multilabel
    with pytest.raises(ValueRefused, match="loss 'hinge' is not one of"):
        Recipe(loss="hinge")


def test_known_images_are_told_where_images_have_several_labels():
    generator = np.random.default_rng(0)
    directions = generator.normal(size=(4, 16))
    labels = (generator.random((300, 4)) < 0.4).astype(np.uint8)
    x = (labels @ directions + generator.normal(0, 0.3, (300, 16)) + 3).astype(np.float32)
    score = fit_known_score(Features(x[:200], labels[:200]), 4, x[200:])
    others = torch.from_numpy((generator.normal(0, 2, (100, 16)) + 3).astype(np.float32))
    known, unknown = score(torch.from_numpy(x[200:])), score(others)
    assert float(known.median()) == pytest.approx(0.5, abs=0.05) and float((unknown < 0.05).float().mean()) > 0.6


def test_an_image_of_several_labels_is_told_from_the_nearest_of_its_own():
    means = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
    x, labels = np.array([[3.5, 0.0], [3.5, 0.0], [3.5, 0.0]]), np.array([[1, 0, 1], [1, 1, 0], [0, 0, 0]], np.uint8)
    np.testing.assert_array_equal(_nearest(x, labels, means), [0, 1, 1])  # of none it is the nearest of all


def test_of_a_single_label_nothing_tells_known_images():
    x = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    labels = np.arange(60)[:, None] % 2
    assert fit_known_score(Features(x[:40], labels[:40].astype(np.uint8)), 1, x[40:]) is None


def test_a_label_that_is_said_but_that_no_image_has_is_not_in_the_mean(predictions):
    bare = np.concatenate([predictions.labels, np.zeros((200, 1), np.uint8)], axis=1)
    more = np.concatenate([predictions.probabilities, np.full((200, 1), 0.9)], axis=1)
    whole = score_labels(predictions, intervals=False)
    assert score_labels(MultilabelPredictions(more, bare), intervals=False)["macro_f1"].value == whole["macro_f1"].value


def test_the_metric_of_an_epoch_is_that_of_the_test(predictions):
    metric = of_an_epoch(5, multilabel=True)["mAP"]
    labels = np.array(predictions.labels)
    labels[:, 2] = 0  # a label that no image has counts for nothing
    for part in (slice(0, 120), slice(120, 200)):
        metric.update(torch.from_numpy(predictions.probabilities[part]).float(), torch.from_numpy(labels[part]).long())
    expected = np.mean([average_precision_score(labels[:, i], predictions.probabilities[:, i]) for i in (0, 1, 3, 4)])
    assert float(metric.compute()) == pytest.approx(expected, abs=1e-5)


def test_weights_of_classes_are_for_one_class_an_image():
    network = create_backbone("mobilenetv3_small_050", "none", num_classes=3)
    with pytest.raises(UserError, match="class_weight= is for one class an image"):
        ImageClassifier(network, recipe=Recipe(loss="bce"), class_weight=[1, 1, 1])


def test_the_worst_mistakes_are_few_of_each_label(predictions):
    found = worst_mistakes(predictions)
    off = [abs(float(predictions.probabilities[i, j]) - int(predictions.labels[i, j])) for i, j in found]
    assert off == sorted(off, reverse=True) and max(np.bincount([j for _, j in found])) <= 4
    assert all(predictions.said[i, j] != predictions.labels[i, j] for i, j in found)
