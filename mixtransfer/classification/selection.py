"""What validation decides: the head's strength, the input size, how much of fine-tuning is kept, its temperature, and
when to stop.

All of it by one criterion: the log loss of images that were not trained on, at the temperature that calibrates them.
It tells how well classes are told apart, apart from how boldly, and is less noisy than accuracy. Where a validation
part is small, training and validation images are judged together, each by a network or head that was fitted without it
("out of fold"): a dozen images cannot tell what a hundred can.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from mixtransfer.classification.kinds import AnyPredictions
from mixtransfer.data.dataset import ImageDataset
from mixtransfer.data.labels import class_counts, is_multilabel, members_of_classes
from mixtransfer.data.stratify import deal_labels

FOLDS = 3
ENOUGH = 400  # validation images that are evidence enough for a head: no folds
# Images to train and validate on up to which fine-tuning is judged out of fold too, at three times its cost.
FEW = 300
HEAD = 0.0  # the share that is the head on frozen features alone
SHARES = (HEAD, 0.25, 0.5, 0.75, 1.0)  # of the fine-tuned weights, to choose from
# Standard errors that the evidence may object by, chosen on held-out folds. With many images of a class fine-tuning is
# seldom worse: on a fold of 10 classes of Food-101 80 validation images objected by more than 0.75, and on 200 others
# the start had 72.0 % right, the fine-tuned network 84.0 %.
TOLERANCE, TOLERANCE_OF_MANY = 0.75, 2.0
# Of several labels an image fine-tuning must be no worse at all: on five draws of COCO's images (ten labels, some 30
# images of each to train on) the log loss of those to validate on rose with the epochs, or stayed.
TOLERANCE_OF_LABELS = 0.0


@dataclass(frozen=True)
class Judgement:
    """How good predictions on images that were not trained on are.

    Attributes:
        temperature: What calibrates them; logits are to be divided by it.
        losses: Log loss of each image in nats at that temperature, weighted by its class, shape (n,).
    """

    temperature: float
    losses: np.ndarray

    @property
    def loss(self) -> float:
        return float(self.losses.mean())


def judge(predictions: AnyPredictions, class_weight: np.ndarray | None = None) -> Judgement:
    """The criterion.

    The temperature is the best of the images (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017) and
    of two more that everyone is given, of mean confidence, one right and one wrong. So n images that are all right
    make it (n + 1) / (n + 2) sure, as Laplace's rule of succession, where without them nothing holds it.

    Args:
        predictions: On at least one image.
        class_weight: Weight of each class, where rare ones count more, shape (classes,); not of several labels.
    """
    weights = np.ones(len(predictions.labels)) if class_weight is None else class_weight[predictions.labels]

    def cost(log_temperature: float) -> float:
        calibrated = predictions.at_temperature(np.exp(log_temperature))
        sure = np.clip(np.average(calibrated.confidence, weights=weights), 1e-12, 1 - 1e-12)
        return float((weights * calibrated.losses).sum() - np.log(sure) - np.log(1 - sure))

    temperature = float(np.exp(minimize_scalar(cost, bounds=(-2.5, 2.5), method="bounded").x))
    return Judgement(temperature, weights * predictions.at_temperature(temperature).losses)


def judge_all(said: Mapping[float, AnyPredictions], class_weight: np.ndarray | None = None) -> dict[float, Judgement]:
    """The criterion of each setting's predictions; see ``judge``."""
    return {setting: judge(predictions, class_weight) for setting, predictions in said.items()}


def balancing(dataset: ImageDataset) -> np.ndarray:
    """Weights of the classes with which each counts as much as another, of mean 1 over the images to train on."""
    counts = class_counts(dataset.train.labels, len(dataset.classes))
    return counts.sum() / (len(counts) * counts)


def head_folds(dataset: ImageDataset) -> np.ndarray:
    """The folds in which images to train on, then those to validate on, judge a head; shape (n,), see ``deal``.

    Those to validate on are the only fold where they are enough.
    """
    train, val = dataset.train.labels, dataset.val.labels
    held_out = np.repeat([-1, 0], [len(train), len(val)])
    if len(val) >= ENOUGH:
        return held_out
    folds = deal(dataset.units, np.concatenate([train, val]))
    return folds if folds.max() >= 0 else held_out


def deal(units: Sequence[str], labels: np.ndarray, folds: int = FOLDS, seed: int = 0) -> np.ndarray:
    """Deal images out over folds, each class evenly, so that all of a unit go to one.

    Args:
        units: What stays whole: an image's group, or any name that only it has; shape (n,).
        labels: See ``mixtransfer.data.labels``; several are dealt by ``deal_labels``.
        seed: Of the shuffling.

    Returns:
        The fold of each image, shape (n,); −1 of the units that are always trained on, because a class of theirs would
        be missing otherwise.
    """
    if len(set(units)) == 1:
        return np.full(len(labels), -1)
    _, unit = np.unique(np.array(units, dtype=str), return_inverse=True)
    if is_multilabel(labels):
        count = unit.max() + 1
        order = np.random.default_rng(seed).permutation(count)
        dealt = deal_labels(unit, labels, min(folds, count), order)
    elif len(set(units)) < len(units):
        from sklearn.model_selection import StratifiedGroupKFold

        dealt = np.empty(len(labels), dtype=int)
        splits = StratifiedGroupKFold(min(folds, len(set(units))), shuffle=True, random_state=seed)
        with warnings.catch_warnings():  # that a class has fewer members than there are folds
            warnings.simplefilter("ignore", UserWarning)
            for fold, (_, members) in enumerate(splits.split(np.zeros(len(labels)), labels, units)):
                dealt[members] = fold
    else:
        dealt = places_in_class(labels, seed) % folds
    kept = True
    while kept:  # what stays for one class may leave another in a single fold
        kept = False
        for _, members in members_of_classes(labels):
            own = dealt[members]
            if own[0] >= 0 and (own == own[0]).all():
                dealt[np.isin(unit, unit[members])] = -1
                kept = True
    return dealt


def places_in_class(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """Number the members of each class from 0, in random order; shape (n,)."""
    generator = np.random.default_rng(seed)
    places = np.empty(len(labels), dtype=int)
    for _, members in members_of_classes(labels):
        places[members] = generator.permutation(len(members))
    return places


def least_loss(judged: Mapping[float, Judgement]) -> float:
    """The setting with the least log loss."""
    return min(judged, key=lambda setting: judged[setting].loss)


def largest_share(judged: Mapping[float, Judgement], tolerance: float = TOLERANCE) -> float:
    """The largest share of the fine-tuned weights that is nearly as good as the best share.

    Nearly: its log loss is larger by at most ``tolerance`` standard errors of the difference. A few dozen images
    cannot tell neighbouring shares apart; where they do not object, more fine-tuning did better on images held out.
    """
    best = judged[least_loss(judged)].losses
    excess = {share: judgement.losses - best for share, judgement in judged.items()}
    return max(s for s, gap in excess.items() if gap.mean() <= tolerance * gap.std() / np.sqrt(len(gap)))
