"""Choosing the input size on frozen features, before training.

A network trained on random crops meets objects larger than a central crop of the same size shows them; seen at
about 8/7 of the size, many data sets are told apart better (Touvron et al., "Fixing the train-test resolution
discrepancy", NeurIPS 2019). It costs 8/7 squared as much, so the data must show that it is worth that.
"""

from collections.abc import Callable

import numpy as np
from torch import nn

from mixtransfer.backbones import BackboneSpec
from mixtransfer.backbones.capability import refusal
from mixtransfer.backbones.create import has_one_size
from mixtransfer.classification.datamodule import EvaluationData
from mixtransfer.classification.head import choose_strength, pooled_features
from mixtransfer.classification.options import TrainOptions
from mixtransfer.classification.selection import balancing, deal, judge, places_in_class
from mixtransfer.common.device import best_device
from mixtransfer.data.dataset import Examples, ImageDataset
from mixtransfer.data.labels import is_multilabel, some_of_each
from mixtransfer.data.preprocessing import Normalize, Preprocessing

WORTH = 0.03  # the share of the log loss that the larger size must save
MOST_IMAGES = 2000
STRENGTHS = (0.01, 0.03, 0.1, 0.3)  # of the head; see there


def choose_image_size(
    model: nn.Module, backbone: BackboneSpec, dataset: ImageDataset, options: TrainOptions, say: Callable[[str], None]
) -> int:
    """The model's own input size or the next larger one, by heads judged out of fold."""
    native = Preprocessing.of(model).size
    larger = 32 * round(native * 8 / 7 / 32)
    both = dataset.train.joined(dataset.val)
    if larger <= native or has_one_size(backbone) or _median_side(both) < native or refusal(backbone, larger):
        return native
    chosen = _some_of_each_class(both.labels)
    examples = both.subset(chosen)
    units = dataset.units
    folds = deal([units[i] for i in chosen], examples.labels)
    if folds.max() < 0:
        return native
    weights = balancing(dataset) if options.class_weights == "balanced" else None
    device = best_device()
    losses = {}
    for size in (native, larger):
        preprocessing = Preprocessing.of(model, size)
        data = EvaluationData(preprocessing, workers=options.workers)
        features = pooled_features(
            model, Normalize(preprocessing).to(device), data.evaluation_loader(examples), device,
            flip=False, title=f"Features at {size} px",
        )  # fmt: skip
        losses[size] = judge(choose_strength(features, folds, weights, STRENGTHS).judged, weights).loss
    best = larger if losses[larger] < (1 - WORTH) * losses[native] else native
    say(
        f"Input size {best}: log loss out of fold {losses[native]:.3f} at {native} pixels, {losses[larger]:.3f} at "
        f"{larger}."
    )
    return best


def _some_of_each_class(labels: np.ndarray) -> np.ndarray:
    """Positions of at most ``MOST_IMAGES``, as evenly over the classes as they come, at least two of each."""
    if is_multilabel(labels):
        return some_of_each(labels, labels.shape[1], MOST_IMAGES)
    places = places_in_class(labels)
    count = max(MOST_IMAGES, int((places < 2).sum()))
    return np.sort(np.argsort(places, kind="stable")[:count])


def _median_side(examples: Examples, sample: int = 50) -> float:
    positions = np.linspace(0, len(examples) - 1, min(sample, len(examples))).astype(int)
    return float(np.median([min(examples.image(i).size) for i in positions]))
