"""What validation decides: against closed forms, and on predictions made up so that the answer is known."""

import numpy as np
import pytest
from scipy.special import softmax

from mixtransfer.classification.metrics import Predictions
from mixtransfer.classification.selection import (
    Judgement,
    balancing,
    deal,
    head_folds,
    judge,
    largest_share,
    least_loss,
    places_in_class,
)
from mixtransfer.data.dataset import Examples, ImageDataset


def two_classes(margins: np.ndarray) -> Predictions:
    """Of two classes, the first of them true, from the difference of logits."""
    return Predictions.from_logits(np.stack([margins, np.zeros_like(margins)], axis=1), np.zeros(len(margins), int))


@pytest.mark.parametrize("true", [0.4, 1.0, 2.5])
def test_temperature_is_the_one_that_the_labels_were_drawn_by(true):
    generator = np.random.default_rng(0)
    logits = 3 * generator.normal(size=(20_000, 5))
    labels = (softmax(logits / true, axis=1).cumsum(axis=1) < generator.random((20_000, 1))).sum(axis=1)
    assert judge(Predictions.from_logits(logits, labels)).temperature == pytest.approx(true, rel=0.05)


@pytest.mark.parametrize("images", [1, 8, 40])
def test_images_that_are_all_right_make_no_more_sure_than_the_rule_of_succession(images):
    """Without it the temperature runs to its bound, and wrong answers bear 100 %."""
    predictions = two_classes(np.full(images, 2.0))
    sure = predictions.at_temperature(judge(predictions).temperature).confidence
    np.testing.assert_allclose(sure, (images + 1) / (images + 2), rtol=1e-3)


def test_judged_losses_are_those_at_the_temperature():
    predictions = Predictions.from_logits(np.random.default_rng(0).normal(size=(200, 3)), np.arange(200) % 3)
    judged = judge(predictions)
    assert judged.loss == pytest.approx(predictions.at_temperature(judged.temperature).losses.mean())
    assert judged.loss <= predictions.losses.mean() + 2 / 200


def test_class_weights_decide_which_images_count():
    """Of two networks the one that is better on the rare class is chosen if that class weighs as much as the other."""
    labels = np.repeat([0, 1], [90, 10])
    common = Predictions.from_logits(np.tile([2.0, 0.0], (100, 1)), labels)
    margins = np.where(labels == 0, 0.6, -2.0)
    rare = Predictions.from_logits(np.stack([margins, -margins], axis=1), labels)
    rare = Predictions(
        np.where((np.arange(100) < 30)[:, None], rare.probabilities[:, ::-1], rare.probabilities), labels
    )
    weights = 100 / (2 * np.array([90, 10]))
    assert least_loss({1: judge(common), 2: judge(rare)}) == 1
    assert least_loss({1: judge(common, weights), 2: judge(rare, weights)}) == 2


def test_more_fine_tuning_is_kept_unless_the_evidence_objects():
    """The same mean loss more is too much when every image shows it, and not when it comes and goes."""
    start = Judgement(1.0, np.full(40, 0.3))
    worse, erratic = Judgement(1.0, start.losses + 0.02), Judgement(1.0, start.losses + np.tile([0.32, -0.28], 20))
    better = Judgement(1.0, start.losses - 0.02)
    assert largest_share({0.0: start, 0.5: worse}) == 0.0
    assert largest_share({0.0: start, 0.5: start, 1.0: worse}) == 0.5
    assert largest_share({0.0: start, 1.0: better}) == 1.0
    assert erratic.loss == pytest.approx(worse.loss)
    assert largest_share({0.0: start, 1.0: erratic}) == 1.0
    assert largest_share({0.0: start, 1.0: erratic}, tolerance=0.3) == 0.0


def test_each_class_is_dealt_evenly():
    labels = np.repeat([0, 1, 2], [30, 10, 4])
    folds = deal([str(i) for i in range(44)], labels)
    for label in range(3):
        counts = np.bincount(folds[labels == label], minlength=3)
        assert counts.max() - counts.min() <= 1


def test_groups_are_dealt_whole():
    generator = np.random.default_rng(0)
    groups = generator.integers(0, 20, 200)
    folds = deal([f"group {g}" for g in groups], generator.integers(0, 3, 200))
    assert all(len(set(folds[groups == group])) == 1 for group in range(20))
    assert sorted(set(folds)) == [0, 1, 2]


def test_a_class_that_cannot_be_judged_is_always_trained_on():
    labels = np.array([0, 0, 0, 0, 1, 2, 2])
    assert deal([str(i) for i in range(7)], labels)[4] == -1
    together = deal(["a", "b", "c", "d", "e", "same", "same"], labels)
    assert set(together[labels == 2]) == {-1}
    assert (together[labels == 0] >= 0).all()


def test_places_count_within_each_class():
    labels = np.array([0, 1, 0, 0, 1])
    places = places_in_class(labels)
    assert sorted(places[labels == 0]) == [0, 1, 2] and sorted(places[labels == 1]) == [0, 1]


def test_units_are_whole_whatever_classes_they_hold():
    """None is judged in part, and of every class that is judged the others have some to be trained on."""
    generator = np.random.default_rng(0)
    judged = 0
    for _ in range(200):
        units = [f"u{i}" for i in generator.integers(0, 6, 12)]
        labels = generator.integers(0, 4, 12)
        folds = deal(units, labels)
        judged += (folds >= 0).sum()
        for unit in set(units):
            assert len({fold for fold, its in zip(folds.tolist(), units, strict=True) if its == unit}) == 1
        for label in set(labels.tolist()):
            own = folds[labels == label]
            assert (own < 0).any() or len(set(own.tolist())) > 1
    assert judged > 800


def dataset_of(train: list[int], val: list[int]) -> ImageDataset:
    parts = [Examples(np.zeros((len(its), 1, 1, 3), np.uint8), np.array(its)) for its in (train, val, [0])]
    return ImageDataset("d", ["a", "b"], *parts)


def test_balancing_weighs_classes_alike():
    """The number of images over that of classes times the class's own."""
    weights = balancing(dataset_of([0] * 30 + [1] * 10, [0, 1]))
    np.testing.assert_allclose(weights, [40 / (2 * 30), 40 / (2 * 10)])


@pytest.mark.parametrize(("validated", "alone"), [(398, False), (400, True), (402, True)])
def test_400_images_to_validate_on_judge_alone(validated, alone):
    folds = head_folds(dataset_of([0, 1] * 10, [0, 1] * (validated // 2)))
    assert len(folds) == 20 + validated
    assert (folds[:20] == -1).all() == alone
    assert set(folds[20:].tolist()) == ({0} if alone else {0, 1, 2})
