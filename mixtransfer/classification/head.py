"""The head warm-up: a linear classifier on the features of the frozen backbone.

Fitting the head before the body moves keeps a random head's gradients from spoiling the pretrained features
(Kumar et al., ICLR 2022). The features are computed once, so this takes a fraction of one epoch's time, and the
fit is convex: no learning rate, no epochs.
"""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

# Inverse regularization strengths to choose from, for features scaled to a mean square of 1.
STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


@torch.inference_mode()
def pooled_features(
    model: nn.Module, normalize: nn.Module, loader: DataLoader, device: torch.device, flip: bool, title: str
) -> tuple[np.ndarray, np.ndarray]:
    """Features before the classifier, shape (n, channels), and labels; with ``flip`` of the mirror images too."""
    model.eval()
    features, labels = [], []
    for images, targets, _ in tqdm(loader, title, leave=False):
        images = normalize(images.to(device, non_blocking=True))
        for view in (images, images.flip(3)) if flip else (images,):
            features.append(model.forward_head(model.forward_features(view), pre_logits=True).float().cpu().numpy())
            labels.append(targets.numpy())
    return np.concatenate(features), np.concatenate(labels)


def fit_head(
    classifier: nn.Linear,
    train: tuple[np.ndarray, np.ndarray],
    val: tuple[np.ndarray, np.ndarray],
    class_weights: str = "none",
) -> float:
    """Set ``classifier`` to the logistic regression of ``train`` that has the least log loss on ``val``.

    Args:
        classifier: The linear layer to set, of shape (classes, channels).
        train, val: Features and labels.
        class_weights: "none" or "balanced".

    Returns:
        The validation log loss of the choice, in nats.
    """
    (x, y), (val_x, val_y) = train, val
    mean, scale = x.mean(axis=0), x.std()
    losses = {}
    for strength in STRENGTHS:
        regression = LogisticRegression(
            C=strength, max_iter=200, class_weight="balanced" if class_weights == "balanced" else None
        ).fit((x - mean) / scale, y)
        weight, bias = _for_raw_features(regression, mean, scale, classifier.out_features)
        losses[strength] = _log_loss(val_x @ weight.T + bias, val_y), weight, bias
    loss, weight, bias = min(losses.values(), key=lambda entry: entry[0])
    with torch.no_grad():
        classifier.weight.copy_(torch.from_numpy(weight))
        classifier.bias.copy_(torch.from_numpy(bias))
    return loss


def _for_raw_features(regression, mean: np.ndarray, scale: float, classes: int) -> tuple[np.ndarray, np.ndarray]:
    coefficients, intercepts = regression.coef_, regression.intercept_
    if len(coefficients) == 1:  # two classes: scikit-learn keeps only the second one's score
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercepts = np.concatenate([-intercepts, intercepts]) / 2
    weight = coefficients / scale
    bias = intercepts - weight @ mean
    assert len(weight) == classes, "every class occurs in the training part"
    return weight.astype(np.float32), bias.astype(np.float32)


def _log_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    logits = logits - logits.max(axis=1, keepdims=True)
    return float((np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]).mean())
