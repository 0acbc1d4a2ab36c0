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
from mixtransfer.classification.metrics import Predictions
from mixtransfer.classification.selection import judge_all, least_loss

# Inverse regularization strengths to choose from, for features scaled to unit variance.
STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


@dataclass(frozen=True)
class Features:
    """What a network's body makes of labelled images.

    Attributes:
        x: Shape (n, channels).
        labels: Shape (n,).
        mirrored: Of the mirror images, to fit on too, shape (n, channels).
    """

    x: np.ndarray
    labels: np.ndarray
    mirrored: np.ndarray | None = None

    def __getitem__(self, chosen: np.ndarray) -> "Features":
        return Features(self.x[chosen], self.labels[chosen], None if self.mirrored is None else self.mirrored[chosen])


@torch.inference_mode()
def pooled_features(
    model: nn.Module, normalize: nn.Module, loader: DataLoader, device: torch.device, flip: bool, title: str
) -> Features:
    """Features before the classifier; with ``flip`` those of the mirror images too."""
    model = for_inference(model, device)
    x, mirrored, labels = [], [], []
    for images, targets, _ in tqdm(loader, title, leave=False, disable=None):  # where nobody looks there is none
        inputs = normalize(images.to(device))
        x.append(_pooled(model, inputs))
        if flip:
            mirrored.append(_pooled(model, inputs.flip(-1)))
        labels.append(targets.numpy())
    return Features(np.concatenate(x), np.concatenate(labels), np.concatenate(mirrored) if flip else None)


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

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Of features of shape (n, channels); shape (n, classes)."""
        return x @ self.weight.T + self.bias

    @torch.no_grad()
    def copy_to(self, classifier: nn.Linear) -> None:
        classifier.weight.copy_(torch.from_numpy(self.weight))
        classifier.bias.copy_(torch.from_numpy(self.bias))


def fit_linear_head(features: Features, strength: float, balanced: bool = False) -> LinearHead:
    """The logistic regression of labelled features.

    Args:
        features: Every class occurs in them.
        strength: Inverse regularization strength, for features scaled to unit variance.
        balanced: Weigh each class by the inverse of its frequency.
    """
    x, labels = features.x, features.labels
    if features.mirrored is not None:
        x, labels = np.concatenate([x, features.mirrored]), np.concatenate([labels, labels])
    mean, scale = x.mean(axis=0), x.std()
    regression = LogisticRegression(C=strength, max_iter=200, class_weight="balanced" if balanced else None)
    with warnings.catch_warnings():
        # That it stopped early (one more regularization), or that many classes have few images each.
        warnings.simplefilter("ignore", UserWarning)
        regression.fit((x - mean) / scale, labels)
    coefficients, intercepts = regression.coef_, regression.intercept_
    if len(coefficients) == 1:  # two classes: scikit-learn keeps only the second one's score
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercepts = np.concatenate([-intercepts, intercepts]) / 2
    weight = coefficients / scale
    return LinearHead(weight.astype(np.float32), (intercepts - weight @ mean).astype(np.float32))


def out_of_fold(features: Features, folds: np.ndarray, strength: float, balanced: bool = False) -> Predictions:
    """What heads say of images that they were not fitted on: those of every fold from 0, in order.

    Args:
        folds: The fold of each image, shape (n,); those of −1 are always fitted on.
    """
    logits = np.empty((len(features.labels), len(np.unique(features.labels))), dtype=np.float32)
    for fold in range(folds.max() + 1):
        judged = folds == fold
        logits[judged] = fit_linear_head(features[~judged], strength, balanced).logits(features.x[judged])
    return Predictions.from_logits(logits[folds >= 0], features.labels[folds >= 0])


@dataclass(frozen=True)
class Strength:
    """A head's strength that was chosen.

    Attributes:
        value: Inverse regularization strength.
        judged: What heads of it say of images that they were not fitted on.
    """

    value: float
    judged: Predictions


def choose_strength(
    features: Features,
    folds: np.ndarray,
    class_weight: np.ndarray | None = None,
    strengths: Sequence[float] = STRENGTHS,
) -> Strength:
    """The strength with the least log loss out of fold.

    Args:
        features, folds: See ``out_of_fold``.
        class_weight: Weight of each class, if rare ones are to count more, shape (classes,).
    """
    said = {strength: out_of_fold(features, folds, strength, class_weight is not None) for strength in strengths}
    best = least_loss(judge_all(said, class_weight))
    return Strength(best, said[best])
