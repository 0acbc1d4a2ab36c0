"""The options left to us, by data and start. They were chosen on validation images, never on a test set."""

from dataclasses import replace

import numpy as np
from torch import nn

from mixtransfer.classification.options import TrainOptions
from mixtransfer.classification.trainer import processes
from mixtransfer.data.dataset import ImageDataset
from mixtransfer.data.preprocessing import Preprocessing
from mixtransfer.errors import UserError

FROZEN_BATCH_NORM_BELOW = 5000  # images; on few, statistics that follow the batches cost more than they adapt
LEARNING_RATES = {"adamw": 2e-3, "sgd": 0.02}  # peak, of the head, for batches of 32
SGD_FROM_SCRATCH = 0.05


def resolve(options: TrainOptions, dataset: ImageDataset, model: nn.Module) -> TrainOptions:
    """Fill in every option left to us.

    The image size stays None where it is to be chosen on the head's features (see ``choose_image_size``).
    """
    images, scratch = len(dataset.train), options.weights == "none"
    epochs = options.epochs or (30 if scratch else int(np.clip(round(450 / images**0.5), 5, 20)))
    fit_head = _can_fit_head(model) and (not scratch if options.fit_head is None else options.fit_head)
    frozen = not scratch and images < FROZEN_BATCH_NORM_BELOW
    chooses_size = fit_head and processes(options) == 1
    return replace(
        options,
        epochs=epochs,
        lr=options.lr
        or (SGD_FROM_SCRATCH if scratch and options.optimizer == "sgd" else LEARNING_RATES[options.optimizer]),
        image_size=options.image_size or (None if chooses_size else Preprocessing.of(model).size),
        fit_head=fit_head,
        batch_norm={"auto": "frozen" if frozen else "train"}.get(options.batch_norm, options.batch_norm),
        layer_decay=1.0 if scratch else options.layer_decay,
        warmup_epochs=min(options.warmup_epochs, epochs / 2),
        augment="crop" if dataset.name == "digits" and options.augment == "standard" else options.augment,
    )


def check(options: TrainOptions) -> None:
    """Check the options that are numbers, before data and weights are fetched.

    Raises:
        UserError: An option has a value that cannot be.
    """
    if options.epochs is not None and options.epochs < 1:
        raise UserError(f"--epochs is {options.epochs}; it must be at least 1.")
    if options.batch_size != "auto" and options.batch_size < 1:
        raise UserError(f"--batch-size is {options.batch_size}; it must be at least 1.")
    if options.image_size is not None and not 16 <= options.image_size <= 2048:
        raise UserError(f"--image-size is {options.image_size}; it must lie between 16 and 2048.")
    if not 0 < options.min_crop <= 1:
        raise UserError(f"--min-crop is {options.min_crop}; it must lie between 0 and 1.")


def _can_fit_head(model: nn.Module) -> bool:
    return isinstance(model.get_classifier(), nn.Linear)
