"""Learning what tells known images from others, from the features of a trained network."""

import numpy as np
import torch
from sklearn.decomposition import PCA
from torch import nn
from torch.nn import functional as F

from mixtransfer.backbones.answer import takes_linear_head
from mixtransfer.classification.datamodule import EvaluationData
from mixtransfer.classification.head import Features, pooled_features
from mixtransfer.classification.known import DIRECTIONS, KNOTS, KnownScore
from mixtransfer.data.dataset import ImageDataset
from mixtransfer.data.labels import is_multilabel, members_of_classes, some_of_each

MOST_IMAGES = 20_000  # that it is learnt from, of each class as many
SHRINKAGE = 0.9  # share of the variance that is taken to be the same in all directions
LEAST_VARIANCE = 1e-3  # of normalised features within classes: of one image a class there is none


def learn_known(
    model: nn.Module, normalize: nn.Module, data: EvaluationData, dataset: ImageDataset, device: torch.device
) -> KnownScore | None:
    """What a trained network needs to tell known images from others; None where its features are not to be had.

    Args:
        model: It is moved to ``device``.
        data: Loads the images of ``dataset``.
    """
    assert data.preprocessing
    if not len(dataset.val) or not takes_linear_head(model, data.preprocessing.size):
        return None
    classes = len(dataset.classes)
    chosen = some_of_each(dataset.train.labels, classes, MOST_IMAGES)
    both = dataset.train.subset(chosen).joined(dataset.val)
    title = f"How known {len(both):,} images look"
    features = pooled_features(
        model.to(device), normalize.to(device), data.evaluation_loader(both), device, flip=False, title=title
    )
    return fit_known_score(features[np.arange(len(chosen))], classes, features.x[len(chosen) :])


def known_by(features: Features, dataset: ImageDataset) -> KnownScore | None:
    """The same, where there are features of all images to train on and, behind them, to validate on."""
    classes = len(dataset.classes)
    chosen = some_of_each(dataset.train.labels, classes, MOST_IMAGES)
    return fit_known_score(features[chosen], classes, features.x[len(dataset.train) :])


def fit_known_score(features: Features, classes: int, held_out: np.ndarray) -> KnownScore | None:
    """What tells known images from others, learnt from labelled ones; None of a single label.

    Args:
        features: Of images to train on, in which every class occurs.
        held_out: Features of others of the same classes, shape (n, channels): what is usual for new images.
    """
    if classes < 2:  # there is nothing that an image of none of them would be farther from
        return None
    score = KnownScore(classes, features.x.shape[1])
    x = F.normalize(torch.from_numpy(features.x).double(), dim=1).numpy()
    means = np.stack([x[members].mean(0) for _, members in members_of_classes(features.labels)])
    center = x.mean(0)
    (within, unit), (overall, rest) = _axes(x - means[_nearest(x, features.labels, means)]), _axes(x - center)
    learnt = {
        "means": means - center,
        "center": center,
        "within": within * unit**0.5,
        "overall": overall * unit**0.5,
        "rest": [unit / rest],
    }
    for name, values in learnt.items():
        getattr(score, name).copy_(torch.as_tensor(np.asarray(values)))
    with torch.inference_mode():
        usual = score.distance(torch.from_numpy(held_out).float()).double().numpy()
    # By the positions (1 … n) / (n + 1): a new image is as likely to lie in one gap between them as in any other.
    knots = np.quantile(usual, np.linspace(0, 1, KNOTS + 1), method="weibull")
    # Of alike images some are equal; then a step, not a slope.
    score.knots.copy_(torch.from_numpy(knots + 1e-4 * np.abs(knots).max() * np.arange(KNOTS + 1)))
    return score


def _nearest(x: np.ndarray, labels: np.ndarray, means: np.ndarray) -> np.ndarray:
    """The class of each image; of several labels the one whose mean is nearest, of none the nearest of all."""
    if not is_multilabel(labels):
        return labels
    distances = np.square(means).sum(1) - 2 * x @ means.T
    own = labels.astype(bool) | ~labels.any(axis=1, keepdims=True)
    return np.where(own, distances, np.inf).argmin(1)


def _axes(differences: np.ndarray) -> tuple[np.ndarray, float]:
    """Of a shrunk covariance its largest axes, scaled, and the variance along all others.

    Args:
        differences: From the mean, shape (n, channels).
    """
    channels = differences.shape[1]
    kept = min(DIRECTIONS, *differences.shape)
    with np.errstate(invalid="ignore"):  # of one image a class there is no variance to take shares of
        found = PCA(kept, random_state=0).fit(differences)
    total = max(np.square(differences).sum(1).mean(), LEAST_VARIANCE)
    values = found.explained_variance_ * (1 - 1 / len(differences))  # as the mean of squares has it
    shared = SHRINKAGE * total / channels
    others = max(0.0, total - values.sum()) / max(1, channels - kept)
    along, rest = ((1 - SHRINKAGE) * value + shared for value in (values, others))
    axes = np.zeros((channels, min(DIRECTIONS, channels)))
    axes[:, :kept] = found.components_.T * np.sqrt(np.maximum(0, 1 / rest - 1 / along))
    return axes, rest
