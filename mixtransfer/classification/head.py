"""The linear head on frozen features: its pooled features, and its fit by logistic regression.

Fitting the head before the body moves keeps a random head's gradients from spoiling pretrained features, and the
fit is convex: no learning rate, no epochs.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from mixtransfer.backbones.fuse import for_inference
from mixtransfer.classification.metrics import Predictions, log_loss

# Inverse regularization strengths to choose from, for features scaled to unit variance.
STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


@dataclass(frozen=True)
class Features:
    """What a network's body makes of labelled images.

    Attributes:
        x: Shape (n, channels).
        labels: Shape (n,).
    """

    x: np.ndarray
    labels: np.ndarray

    def __add__(self, other: "Features") -> "Features":
        return Features(np.concatenate([self.x, other.x]), np.concatenate([self.labels, other.labels]))

    def __getitem__(self, chosen: np.ndarray | slice) -> "Features":
        return Features(self.x[chosen], self.labels[chosen])


@torch.inference_mode()
def pooled_features(
    model: nn.Module, normalize: nn.Module, loader: DataLoader, device: torch.device, flip: bool, title: str
) -> Features:
    """Features before the classifier; with ``flip`` those of all mirror images come after those of the images."""
    model = for_inference(model, device)
    x, mirrored, labels = [], [], []
    for images, targets, _ in tqdm(loader, title, leave=False):
        inputs = normalize(images.to(device))
        x.append(_pooled(model, inputs))
        if flip:
            mirrored.append(_pooled(model, inputs.flip(-1)))
        labels.append(targets.numpy())
    return Features(np.concatenate(x + mirrored), np.concatenate(labels * (2 if flip else 1)))


def set_head(classifier: Any, data: Any, device: torch.device) -> tuple[Features, Features, float]:
    """Set a classifier's head to the logistic regression on its frozen features of the training images.

    Args:
        classifier: A ``Classifier`` with its options, which is moved to ``device``.
        data: Its ``ClassificationData``.

    Returns:
        The features of the training and the validation images, and the strength that the latter chose.
    """
    classifier = classifier.to(device)
    train, val = (
        pooled_features(
            classifier.model,
            classifier.normalize,
            data.evaluation_loader(examples),
            device,
            flip=classifier.options.augment not in ("none", "crop"),
            title=f"Features of {len(examples)} images",
        )
        for examples in (data.dataset.train, data.dataset.val)
    )
    balanced = classifier.options.class_weights == "balanced"
    strength = best_strength(train, val[: len(data.dataset.val)], balanced)
    fit_head(train, strength, balanced).copy_to(classifier.model.get_classifier())
    return train, val, strength


def _pooled(model: Any, inputs: torch.Tensor) -> np.ndarray:
    return model.forward_head(model.forward_features(inputs), pre_logits=True).float().cpu().numpy()


@dataclass(frozen=True)
class LinearHead:
    """A linear classifier on raw features.

    Attributes:
        weight: Shape (classes, channels).
        bias: Shape (classes,).
    """

    weight: np.ndarray
    bias: np.ndarray

    def log_loss(self, features: Features) -> float:
        """On labelled features, in nats."""
        return log_loss(Predictions.from_logits(features.x @ self.weight.T + self.bias, features.labels))

    @torch.no_grad()
    def copy_to(self, classifier: nn.Linear) -> None:
        classifier.weight.copy_(torch.from_numpy(self.weight))
        classifier.bias.copy_(torch.from_numpy(self.bias))


def fit_head(features: Features, strength: float, balanced: bool = False) -> LinearHead:
    """The logistic regression of labelled features.

    Args:
        features: Every class occurs in them.
        strength: Inverse regularization strength, for features scaled to unit variance.
        balanced: Weigh each class by the inverse of its frequency.
    """
    mean, scale = features.x.mean(axis=0), features.x.std()
    regression = LogisticRegression(C=strength, max_iter=200, class_weight="balanced" if balanced else None)
    with warnings.catch_warnings():
        # That it stopped early (one more regularization), or that many classes have few images each.
        warnings.simplefilter("ignore", UserWarning)
        regression.fit((features.x - mean) / scale, features.labels)
    coefficients, intercepts = regression.coef_, regression.intercept_
    if len(coefficients) == 1:  # two classes: scikit-learn keeps only the second one's score
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercepts = np.concatenate([-intercepts, intercepts]) / 2
    weight = coefficients / scale
    return LinearHead(weight.astype(np.float32), (intercepts - weight @ mean).astype(np.float32))


def best_strength(
    train: Features, val: Features, balanced: bool = False, strengths: Sequence[float] = STRENGTHS
) -> float:
    """The strength whose head, fitted on ``train``, has the least log loss on ``val``."""
    return min(strengths, key=lambda strength: fit_head(train, strength, balanced).log_loss(val))


def cross_validated_loss(features: Features, strengths: Sequence[float] = (0.01, 0.03, 0.1, 0.3)) -> float:
    """Log loss in nats of heads on images that they were not fitted on, at the best of ``strengths``.

    Each class is dealt out over three folds, or two if a class has but two images; every class needs two.
    """
    folds = min(3, np.bincount(features.labels).min())
    place = places_in_class(features.labels) % folds
    losses = {
        strength: np.mean(
            [fit_head(features[place != fold], strength).log_loss(features[place == fold]) for fold in range(folds)]
        )
        for strength in strengths
    }
    return float(min(losses.values()))


def places_in_class(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """Number the members of each class from 0, in random order; shape (n,)."""
    generator = np.random.default_rng(seed)
    places = np.empty(len(labels), dtype=int)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        places[members] = generator.permutation(len(members))
    return places
