"""Settings that Lightning's tuner finds: the largest batch that a GPU holds, and a learning rate by a range test."""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from lightning.pytorch.tuner import Tuner
from torch.optim.optimizer import register_optimizer_step_pre_hook

from mixtransfer.classification.defaults import default_rate
from mixtransfer.classification.trainer import make_trainer
from mixtransfer.classification.training import Training

RANGE_STEPS = 60  # of the range test


def find_batch_size(training: Training) -> None:
    """Settle the largest batch that a GPU holds, and the learning rate that goes with it."""
    data, images = training.data, len(training.dataset.train)
    if torch.cuda.is_available():
        found = _tuner(training).scale_batch_size(training.module, data, init_val=8, max_trials=8) or 32
        data.batch_size = min(found, max(2, images // 8))
    training.tuning.batch_size = data.batch_size
    training.say(f"Batch size {data.batch_size}.")
    options = replace(training.options, batch_size=data.batch_size)
    rate = default_rate(options, images, training.say) if options.lr is None else options.lr
    training.settle(batch_size=data.batch_size, lr=rate)


def find_rate(training: Training) -> None:
    """Settle the learning rate of a range test, from the fitted head and with each layer at its share of the head's."""
    with _rates_by_layer(training.module):
        finder = _tuner(training).lr_find(
            training.module, training.data, min_lr=1e-6, max_lr=1.0, num_training=RANGE_STEPS
        )
    rate = finder.suggestion() if finder else None
    if rate is None:
        rate = default_rate(training.options, len(training.dataset.train))
        training.say("The range test has found no rate at which the loss falls, so the usual one is taken.")
    options, images = training.options, len(training.dataset.train)
    steps = (options.epochs or 0) * math.ceil(images / training.data.batch_size)
    few = f", by a range test of {RANGE_STEPS} steps; the training has {steps} only" if steps < RANGE_STEPS else ""
    training.say(f"Learning rate {rate:.2g}{few}.")
    training.settle(lr=rate)


def _tuner(training: Training) -> Tuner:
    # The range test ends after its steps, which may take several passes over few images, and never validates.
    trainer = make_trainer(
        replace(training.options, devices=1),
        max_epochs=-1,
        check_val_every_n_epoch=RANGE_STEPS + 1,
        enable_checkpointing=False,
        default_root_dir=training.run and training.run.folder,  # for what the tuner restores the weights from
    )
    return Tuner(trainer)


@contextlib.contextmanager
def _rates_by_layer(module: torch.nn.Module) -> Iterator[None]:
    """Keep each layer's rate at its share of the head's in Lightning's range test, which knows only one for all."""
    own = {id(parameter) for parameter in module.parameters()}

    def scale(optimizer: torch.optim.Optimizer, *_: object) -> None:
        for group in optimizer.param_groups:
            if id(group["params"][0]) in own:  # it is called of every optimizer of the process
                group["lr"] *= group["lr_scale"]

    handle = register_optimizer_step_pre_hook(scale)  # the range test takes all callbacks away
    try:
        yield
    finally:
        handle.remove()
