"""How Lightning's Trainer is set up, for training and evaluation alike."""

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, TQDMProgressBar, WeightAveraging
from lightning.pytorch.plugins import TorchCheckpointIO
from torch.optim.optimizer import register_optimizer_step_pre_hook

from mixtransfer.averaging import moving_average
from mixtransfer.checkpoint import load_checkpoint, save_checkpoint
from mixtransfer.classification.datamodule import ClassificationData, EpochBatches, EvaluationData
from mixtransfer.classification.metrics import Predictions
from mixtransfer.classification.module import Classifier
from mixtransfer.classification.options import HardwareOptions, TrainOptions
from mixtransfer.data.dataset import Examples
from mixtransfer.data.preprocessing import Normalize
from mixtransfer.device import keep_freed_memory
from mixtransfer.errors import UserError

PARTS = {"state_dict": dict, "callbacks": dict, "loops": dict, "optimizer_states": list, "lr_schedulers": list}

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]  # Lightning's names


def make_trainer(options: HardwareOptions, callbacks: Sequence[Callback] = (), **settings: Any) -> L.Trainer:
    """A Trainer as the options and the machine ask for; ``settings`` go to ``lightning.Trainer``."""
    precision: dict[str, Precision] = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
    if options.precision == "auto":
        bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        chosen: Precision = "bf16-mixed" if bf16 else "32-true"
    else:
        chosen = precision[options.precision]
    devices = options.devices
    if devices == "auto" and not torch.cuda.is_available():
        devices = 1
    # A log file or a pipe gets no progress bar.
    bar = TQDMProgressBar(refresh_rate=int(sys.stdout.isatty()))
    return L.Trainer(
        callbacks=[*callbacks, bar],
        precision=chosen,
        devices=devices,
        num_nodes=options.num_nodes,
        strategy="ddp" if processes(options) > 1 else "auto",
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        logger=False,
        plugins=[_Checkpoints()],
        enable_model_summary=False,
        **settings,
    )


class _Checkpoints(TorchCheckpointIO):
    """Lightning's own go through the system's temporary folder, from where a move to another disk can break off."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        save_checkpoint(path, checkpoint)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        checkpoint = load_checkpoint(path)
        if any(not isinstance(checkpoint.get(name), kind) for name, kind in PARTS.items()):
            raise UserError(f"{path} is not of this training: remove it, and --resume begins the training anew.")
        # Lightning removes a former checkpoint, with all that is in it, wherever this one says that it lies.
        checkpoint["callbacks"] = {
            name: state
            for name, state in checkpoint["callbacks"].items()
            if not str(name).startswith("ModelCheckpoint")
        }
        return checkpoint


def averaging(steps: int) -> WeightAveraging:
    """The callback that evaluates and keeps a moving average of the weights over a training of so many steps."""
    return WeightAveraging(multi_avg_fn=moving_average(min(0.15 * steps, 5000)))


def steps_of(options: TrainOptions, images: int) -> int:
    """Optimizer steps of a training on so many images by resolved options."""
    assert options.epochs is not None and options.batch_size != "auto"
    return len(EpochBatches(images, options.batch_size, 0, world=processes(options))) * options.epochs


def fit_aside(module: Classifier, data: ClassificationData, options: TrainOptions) -> L.Trainer:
    """Train on the way, from the weights that the module has, without writing anything or looking at validation.

    Args:
        options: Resolved.

    Returns:
        The trainer, to predict with.
    """
    module.normalize = Normalize(data.preprocessing)  # averaging changes it by rounding errors
    module.options, module.lr = options, options.lr
    module.total_steps = steps_of(options, len(data.dataset.train))
    trainer = make_trainer(
        options,
        [averaging(module.total_steps)] if options.ema else [],
        max_epochs=options.epochs,
        gradient_clip_val=options.clip_grad or None,
        enable_checkpointing=False,
        limit_val_batches=0,
    )
    module.train()
    trainer.fit(module, data)
    return trainer


@contextlib.contextmanager
def rates_by_layer() -> Iterator[None]:
    """Keep each layer's rate at its share of the head's in Lightning's range test, which knows only one for all."""

    def scale(optimizer: torch.optim.Optimizer, *_: object) -> None:
        for group in optimizer.param_groups:
            group["lr"] *= group["lr_scale"]

    handle = register_optimizer_step_pre_hook(scale)  # the range test takes all callbacks away
    try:
        yield
    finally:
        handle.remove()


def processes(options: HardwareOptions) -> int:
    """Number of processes that train together, on all machines."""
    devices = max(1, torch.cuda.device_count()) if options.devices == "auto" else options.devices
    return devices * options.num_nodes


def predict_examples(trainer: L.Trainer, module: Classifier, data: EvaluationData, examples: Examples) -> Predictions:
    """What the module says of labelled examples, in their order, whatever the number of processes."""
    data.tested = examples
    trainer.test(module, data, verbose=False)
    return module.take_predictions()


def prepare_process() -> None:
    """Silence Lightning's advice (what a user needs to know, this package says), and keep freed memory."""
    keep_freed_memory()
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
