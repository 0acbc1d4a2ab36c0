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
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from mixtransfer.backbones.fuse import for_inference
from mixtransfer.classification.kinds import AnyPredictions, predictions_from_logits
from mixtransfer.classification.selection import judge_all, least_loss
from mixtransfer.data.labels import is_multilabel

# Inverse regularization strengths to choose from, for features scaled to unit variance.
STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
MOST_STEPS = 200  # of a fit


@dataclass(frozen=True)
class Features:
    """What a network's body makes of labelled images.

    Attributes:
        x: Shape (n, channels).
        labels: See ``mixtransfer.data.labels``.
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
        features: Every class occurs in them. Of several labels each has a regression of its own.
        strength: Inverse regularization strength, for features scaled to unit variance.
        balanced: Weigh each class by the inverse of its frequency; not of several labels.
    """
    x, labels = features.x, features.labels
    if features.mirrored is not None:
        x, labels = np.concatenate([x, features.mirrored]), np.concatenate([labels, labels])
    mean, scale = x.mean(axis=0), x.std()
    if is_multilabel(labels):
        weight, bias = fit_each_label((x - mean) / scale, labels, strength)
        weight = weight / scale
        return LinearHead(weight.astype(np.float32), (bias - weight @ mean).astype(np.float32))
    regression = LogisticRegression(C=strength, max_iter=MOST_STEPS, class_weight="balanced" if balanced else None)
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


def fit_each_label(x: np.ndarray, labels: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """A logistic regression of each label, all in one descent: weights (classes, channels) and biases (classes,).

    What is minimised is scikit-learn's objective: half the squared weights, and ``strength`` times the sum of the log
    losses. Each label starts at its frequency, where it stays without weights if all images have it, or none.

    Args:
        x: Features, shape (n, channels).
        labels: 0 and 1, shape (n, classes).
    """
    x, y = x.astype(np.float64), labels.astype(np.float64)
    n, channels, classes = len(x), x.shape[1], y.shape[1]
    frequency = (y.sum(axis=0) + 0.5) / (n + 1)
    constant = (y == y[0]).all(axis=0)
    start = np.concatenate([np.zeros((classes, channels)), logit(frequency)[:, None]], axis=1)

    def cost(flat: np.ndarray) -> tuple[float, np.ndarray]:
        parameters = flat.reshape(classes, channels + 1)
        z = x @ parameters[:, :-1].T + parameters[:, -1]
        gap = strength * np.where(constant, 0, expit(z) - y)
        loss = strength * np.where(constant, 0, np.logaddexp(0, z) - y * z).sum()
        slopes = np.concatenate([gap.T @ x + parameters[:, :-1], gap.sum(axis=0)[:, None]], axis=1)
        return loss + np.square(parameters[:, :-1]).sum() / 2, slopes.ravel()

    found = minimize(cost, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": MOST_STEPS}).x
    parameters = found.reshape(classes, channels + 1)
    return parameters[:, :-1], parameters[:, -1]


def out_of_fold(features: Features, folds: np.ndarray, strength: float, balanced: bool = False) -> AnyPredictions:
    """What heads say of images that they were not fitted on: those of every fold from 0, in order.

    Args:
        folds: The fold of each image, shape (n,); those of −1 are always fitted on.
    """
    labels = features.labels
    classes = labels.shape[1] if is_multilabel(labels) else len(np.unique(labels))
    logits = np.empty((len(labels), classes), dtype=np.float32)
    for fold in range(folds.max() + 1):
        judged = folds == fold
        logits[judged] = fit_linear_head(features[~judged], strength, balanced).logits(features.x[judged])
    return predictions_from_logits(logits[folds >= 0], labels[folds >= 0])


@dataclass(frozen=True)
class Strength:
    """A head's strength that was chosen.

    Attributes:
        value: Inverse regularization strength.
        judged: What heads of it say of images that they were not fitted on.
    """

    value: float
    judged: AnyPredictions


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
