"""What is known before a network is trained as a whole: its head on frozen features, and fine-tuning out of fold."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from mixtransfer.classification.blend import State, mixture
from mixtransfer.classification.datamodule import ImageDataModule
from mixtransfer.classification.evidence import Evidence
from mixtransfer.classification.head import Features, LinearHead, choose_strength, fit_linear_head, pooled_features
from mixtransfer.classification.module import ImageClassifier
from mixtransfer.classification.options import TrainOptions
from mixtransfer.classification.selection import (
    FEW,
    FOLDS,
    HEAD,
    SHARES,
    TOLERANCE,
    Judgement,
    balancing,
    head_folds,
    largest_share,
)
from mixtransfer.classification.trainer import fit_aside, predict_examples, processes
from mixtransfer.data.dataset import Examples, ImageDataset


@dataclass(frozen=True)
class FittedHead:
    """A head on frozen features, and what it was chosen by.

    Attributes:
        features: Of the images to train on, then of those to validate on.
        strength: Of its regularization.
        evidence: What heads of that strength say of images that they were not fitted on.
        seconds: How long an image takes through the network.
    """

    features: Features
    strength: float
    evidence: Evidence
    seconds: float


def class_weight(options: TrainOptions, dataset: ImageDataset) -> torch.Tensor | None:
    """Weight of each class in the loss, shape (classes,), where the options ask for it."""
    return None if options.class_weights == "none" else torch.tensor(balancing(dataset), dtype=torch.float32)


def set_head(module: ImageClassifier, data: ImageDataModule, device: torch.device, flip: bool) -> FittedHead:
    """Set a classifier's head to the logistic regression on its frozen features of the images to train on.

    Args:
        module: It is moved to ``device``.
        flip: Fit on mirror images too.
    """
    module = module.to(device)
    both = data.dataset.train.joined(data.dataset.val)
    begin = time.perf_counter()
    features = pooled_features(
        module.model,
        module.normalize,
        data.evaluation_loader(both),
        device,
        flip=flip,
        title=f"Features of {len(both)} images",
    )
    seconds = (time.perf_counter() - begin) / len(both) / (1 + flip)
    folds = head_folds(data.dataset)
    weights = module.class_weights
    chosen = choose_strength(features, folds, weights)
    train = features[np.arange(len(data.dataset.train))]
    fit_linear_head(train, chosen.value, weights is not None).copy_to(module.model.get_classifier())
    evidence = Evidence(features.labels, folds, validated=len(data.dataset.val))
    evidence.add(HEAD, chosen.judged)
    return FittedHead(features, chosen.value, evidence, seconds)


def refitted(head: FittedHead, module: ImageClassifier) -> LinearHead:
    """The head of the same strength, fitted on the images to validate on too."""
    return fit_linear_head(head.features, head.strength, module.class_weights is not None)


def is_folded(options: TrainOptions, dataset: ImageDataset) -> bool:
    """Whether fine-tuning is judged out of fold, and in the end trained on all images that it was judged by.

    So few images make it cheap, and those to validate on alone would be no evidence. When to stop early cannot be told
    so.
    """
    few = len(dataset.train) + len(dataset.val) <= FEW and options.unlabelled is None
    return few and bool(options.fit_head and options.epochs and not options.patience) and processes(options) == 1


def images_an_epoch(options: TrainOptions, dataset: ImageDataset) -> int:
    """Images that an epoch of a whole training takes, that of its folds with it."""
    if is_folded(options, dataset):  # all but a fold each, and all in the end
        return FOLDS * (len(dataset.train) + len(dataset.val))
    return len(dataset.train)


def with_parts(data: ImageDataModule, train: Examples, val: Examples) -> ImageDataModule:
    """The same loaders with other images to train and to validate on."""
    dataset = replace(data.dataset, train=train, val=val)
    return ImageDataModule(dataset, data.preprocessing, data.augment, data.batch_size, data.workers, data.seed)


def mirrors(options: TrainOptions) -> bool:
    """Whether training sees mirror images."""
    return options.augment in ("crop-flip", "standard", "strong")


def judge_fine_tuning(
    module: ImageClassifier, data: ImageDataModule, options: TrainOptions, head: FittedHead, keep: Callable[[], None]
) -> None:
    """Fine-tune on all folds but one, for each of them, and note what mixtures with the start say of that one.

    Args:
        module: As ``set_head`` left it, and as it is left.
        options: Resolved.
        head: Its evidence is added to; what is there already is not done again.
        keep: Called after each fold.
    """
    evidence, classifier = head.evidence, module.model.get_classifier()
    both = data.dataset.train.joined(data.dataset.val)
    begin = state_of(module)
    for fold in evidence.numbers:
        if evidence.has(SHARES[-1], fold):
            continue
        began = time.perf_counter()
        judged = evidence.folds == fold
        others, own = (both.subset(np.flatnonzero(chosen)) for chosen in (~judged, judged))
        aside = with_parts(data, others, own)
        module.model.load_state_dict(begin)
        fit_linear_head(head.features[~judged], head.strength, module.class_weights is not None).copy_to(classifier)
        start = state_of(module)
        trainer = fit_aside(module, aside, options)
        tuned = state_of(module)
        for share in SHARES[1:]:
            module.model.load_state_dict(mixture(start, tuned, share))
            evidence.add(share, predict_examples(trainer, module, aside, own), fold)
        evidence.seconds += time.perf_counter() - began
        keep()
    module.model.load_state_dict(begin)


def state_of(module: ImageClassifier) -> State:
    """A copy of the network's weights."""
    return {name: value.detach().cpu().clone() for name, value in module.model.state_dict().items()}


@dataclass(frozen=True)
class Choice:
    """What is kept of a training.

    Attributes:
        share: Of the fine-tuned weights; 0 is the head on frozen features.
        temperature: That calibrates it.
    """

    share: float
    temperature: float


def choose(judged: Mapping[float, Judgement], tolerance: float = TOLERANCE) -> Choice:
    """Choose by how good mixtures were on images that were not trained on; see ``largest_share``."""
    share = largest_share(judged, tolerance)
    return Choice(share, judged[share].temperature)
