"""How Lightning's Trainer is set up, for training and evaluation alike."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ProgressBar
from lightning.pytorch.plugins import TorchCheckpointIO
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from mixtransfer.classification.bar import LossBar
from mixtransfer.classification.datamodule import EpochBatches, EvaluationData, ImageDataModule
from mixtransfer.classification.kinds import AnyPredictions
from mixtransfer.classification.module import ImageClassifier
from mixtransfer.classification.options import HardwareOptions, TrainOptions
from mixtransfer.classification.processes import strategy
from mixtransfer.classification.recipe import Recipe
from mixtransfer.common.device import best_device
from mixtransfer.data.dataset import Examples
from mixtransfer.errors import UserError
from mixtransfer.runs.checkpoint import load_checkpoint, save_checkpoint

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
    if not any(isinstance(callback, ProgressBar) for callback in callbacks):
        # A log file or a pipe gets no progress bar, and an accelerator's steps are too short to look at each.
        often = 1 if best_device().type == "cpu" else 20
        callbacks = [*callbacks, LossBar(refresh_rate=often * sys.stdout.isatty())]
    several = processes(options) > 1
    trainer = L.Trainer(
        callbacks=list(callbacks),
        precision=chosen,
        devices=devices,
        num_nodes=options.num_nodes,
        strategy=strategy() if several else "auto",
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        plugins=[_Checkpoints()],
        enable_model_summary=False,
        **{"logger": False, **settings},
    )
    if several or callable(signal.getsignal(signal.SIGTERM)):
        # Whoever handles it ends the training. Lightning would first have this process broadcast that it is to end,
        # which hangs where the others are in a collective operation of another kind.
        trainer._signal_connector._sigterm_notifier_fn = _leave_to_the_next  # type: ignore[assignment, method-assign]
    return trainer


def _leave_to_the_next(*_: object) -> None:
    pass


class _Checkpoints(TorchCheckpointIO):
    """Lightning's own go through the system's temporary folder, from where a move to another disk can break off."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)  # which a callback of the user's may name
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


def is_first_process() -> bool:
    """Whether this is the first of the processes that train together, before there is a Trainer.

    NODE_RANK says which machine this is, and LOCAL_RANK which process of it; torchrun and SLURM say the rank.
    """
    rank = getattr(rank_zero_only, "rank", None)
    node = os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0"))
    return rank in (None, 0) and ("RANK" in os.environ or "SLURM_PROCID" in os.environ or node in ("", "0"))


def steps_of(options: TrainOptions, images: int) -> int:
    """Optimizer steps of a training on so many images by resolved options."""
    assert options.epochs is not None and options.batch_size != "auto"
    return len(EpochBatches(images, options.batch_size, 0, world=processes(options))) * options.epochs


def fit_aside(module: ImageClassifier, data: ImageDataModule, options: TrainOptions) -> L.Trainer:
    """Train on the way, from the weights that the module has, without writing anything or looking at validation.

    Args:
        options: Resolved.

    Returns:
        The trainer, to predict with.
    """
    module.recipe = Recipe.of(options)
    trainer = make_trainer(
        options,
        module.recipe.callbacks(),
        max_epochs=options.epochs,
        enable_checkpointing=False,
        limit_val_batches=0,
    )
    module.train()
    trainer.fit(module, data)
    return trainer


def processes(options: HardwareOptions) -> int:
    """Number of processes that train together, on all machines."""
    devices = max(1, torch.cuda.device_count()) if options.devices == "auto" else options.devices
    return devices * options.num_nodes


def predict_examples(
    trainer: L.Trainer, module: ImageClassifier, data: EvaluationData, examples: Examples
) -> AnyPredictions:
    """What the module says of labelled examples, in their order, whatever the number of processes."""
    data.tested = examples
    trainer.test(module, data, verbose=False)
    return module.take_predictions()
