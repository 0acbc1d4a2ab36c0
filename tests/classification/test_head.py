"""The head fitted on frozen features, against scikit-learn's own predictions and the network's own head."""

import numpy as np
import pytest
import timm
import torch
from sklearn.linear_model import LogisticRegression
from torch.utils.data import DataLoader

from mixtransfer.classification.head import (
    Features,
    best_strength,
    cross_validated_loss,
    fit_head,
    places_in_class,
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
    head = fit_head(features, 0.1, balanced)
    scaled = (features.x - features.x.mean(axis=0)) / features.x.std()
    regression = LogisticRegression(C=0.1, max_iter=200, class_weight="balanced" if balanced else None)
    expected = regression.fit(scaled, features.labels).predict_proba(scaled)
    classifier = torch.nn.Linear(8, classes)
    head.copy_to(classifier)
    with torch.no_grad():
        found = classifier(torch.from_numpy(features.x)).softmax(dim=1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_strength_is_the_one_that_validation_prefers():
    """Few features between many noisy labels want much regularization, clear classes little."""
    noise = Features(np.random.default_rng(0).normal(size=(80, 8)).astype(np.float32), np.arange(80) % 4)
    other = Features(np.random.default_rng(1).normal(size=(80, 8)).astype(np.float32), np.arange(80) % 4)
    assert best_strength(noise, other) <= 0.01
    assert best_strength(blobs(4, 80, 2, seed=1), blobs(4, 80, 2, seed=2)) >= 1.0


def test_cross_validation_tells_features_apart():
    shuffled = blobs(4, 120, spread=5)
    shuffled = Features(shuffled.x, np.random.default_rng(0).permutation(shuffled.labels))
    assert cross_validated_loss(blobs(4, 120, spread=5)) < 0.3 < 1.2 < cross_validated_loss(shuffled)
    assert np.isfinite(cross_validated_loss(blobs(30, 60, spread=5)))  # two images a class


def test_places_count_within_each_class():
    labels = np.array([0, 1, 0, 0, 1])
    places = places_in_class(labels)
    assert sorted(places[labels == 0]) == [0, 1, 2] and sorted(places[labels == 1]) == [0, 1]


@pytest.mark.parametrize("name", ["mixnet_s", "resnet18", "mobilenetv3_small_050"])
def test_pooled_features_are_what_the_classifier_sees(name):
    model = timm.create_model(name, num_classes=7).eval()
    images = torch.randn(3, 3, 64, 64)
    loader = DataLoader([(image, i, i) for i, image in enumerate(images)], batch_size=2)
    features = pooled_features(model, torch.nn.Identity(), loader, torch.device("cpu"), flip=True, title="")
    with torch.no_grad():
        expected = torch.cat([model(images), model(images.flip(-1))])
        found = model.get_classifier()(torch.from_numpy(features.x))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert features.labels.tolist() == [0, 1, 2, 0, 1, 2]
