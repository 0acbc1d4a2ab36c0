"""The head fitted on frozen features, against scikit-learn's own predictions and the network's own head."""

import numpy as np
import pytest
import timm
import torch
from sklearn.linear_model import LogisticRegression
from torch.utils.data import DataLoader

from mixtransfer.classification.head import (
    Features,
    choose_strength,
    fit_linear_head,
    out_of_fold,
    pooled_features,
)


def blobs(classes: int, images: int, spread: float, seed: int = 0) -> Features:
    """Features around a centre for each class, far from the origin and of large scale."""
    centres = 50 + 20 * np.random.default_rng(9).normal(size=(classes, 8))
    generator = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes).repeat(2), generator.integers(0, classes, images - 2 * classes)])
    return Features((centres[labels] + spread * generator.normal(size=(images, 8))).astype(np.float32), labels)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("balanced", [False, True])
def test_head_on_raw_features_predicts_as_the_regression_on_scaled_ones(classes, balanced):
    features = blobs(classes, 200, spread=20)
    head = fit_linear_head(features, 0.1, balanced)
    scaled = (features.x - features.x.mean(axis=0)) / features.x.std()
    regression = LogisticRegression(C=0.1, max_iter=200, class_weight="balanced" if balanced else None)
    expected = regression.fit(scaled, features.labels).predict_proba(scaled)
    classifier = torch.nn.Linear(8, classes)
    head.copy_to(classifier)
    with torch.no_grad():
        found = classifier(torch.from_numpy(features.x)).softmax(dim=1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_strength_is_the_one_that_does_best_out_of_fold():
    """Many features of few images, of which one tells, want more regularization than few that all tell."""
    folds = np.arange(80) // 4 % 3
    hidden = Features(np.random.default_rng(0).normal(size=(80, 300)).astype(np.float32), np.arange(80) % 2)
    hidden.x[:, 0] += 4 * hidden.labels
    assert choose_strength(hidden, folds).value < choose_strength(blobs(4, 80, 20, seed=1), folds).value


def test_no_image_is_judged_by_a_head_that_was_fitted_on_it():
    """Labels that are drawn at random are learnt by heart, and out of fold only one in four is right."""
    features = Features(np.random.default_rng(0).normal(size=(200, 400)).astype(np.float32), np.arange(200) % 4)
    head = fit_linear_head(features, 3.0)
    assert (head.logits(features.x).argmax(axis=1) == features.labels).all()
    judged = out_of_fold(features, np.arange(200) // 4 % 3, 3.0)
    assert (judged.predicted == judged.labels).mean() < 0.4


def test_out_of_fold_predictions_are_those_of_scikit_learn_in_order():
    features = blobs(3, 90, spread=20)
    folds = np.arange(90) % 3
    folds[:6] = -1
    judged = out_of_fold(features, folds, 0.1)
    assert (judged.labels == features.labels[6:]).all()
    fitted = features.x[folds != 1], features.labels[folds != 1]
    mean, scale = fitted[0].mean(axis=0), fitted[0].std()
    regression = LogisticRegression(C=0.1, max_iter=200).fit((fitted[0] - mean) / scale, fitted[1])
    expected = regression.predict_proba((features.x[folds == 1] - mean) / scale)
    np.testing.assert_allclose(judged.probabilities[folds[6:] == 1], expected, atol=1e-3)


def test_mirrored_features_are_fitted_on():
    plain = blobs(3, 90, spread=20)
    mirrored = blobs(3, 90, spread=20, seed=5)
    mirrored = Features(mirrored.x[np.argsort(mirrored.labels, kind="stable")], plain.labels)
    both = Features(np.concatenate([plain.x, mirrored.x]), np.concatenate([plain.labels, plain.labels]))
    head, expected = fit_linear_head(Features(plain.x, plain.labels, mirrored.x), 0.1), fit_linear_head(both, 0.1)
    np.testing.assert_allclose(head.weight, expected.weight, rtol=1e-4, atol=1e-6)
    assert not np.allclose(head.weight, fit_linear_head(plain, 0.1).weight, rtol=0.05)
    half = Features(plain.x, plain.labels, mirrored.x)[np.arange(45)]
    assert half.mirrored is not None and (half.mirrored == mirrored.x[:45]).all()


@pytest.mark.parametrize("name", ["mixnet_s", "resnet18", "mobilenetv3_small_050"])
def test_pooled_features_are_what_the_classifier_sees(name):
    model = timm.create_model(name, num_classes=7).eval()
    images = torch.randn(3, 3, 64, 64)
    loader = DataLoader([(image, i, i) for i, image in enumerate(images)], batch_size=2)
    features = pooled_features(model, torch.nn.Identity(), loader, torch.device("cpu"), flip=True, title="")
    with torch.no_grad():
        expected = model(images), model(images.flip(-1))
        found = [model.get_classifier()(torch.from_numpy(x)) for x in (features.x, features.mirrored)]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    assert features.labels.tolist() == [0, 1, 2]
