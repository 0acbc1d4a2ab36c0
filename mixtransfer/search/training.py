"""Training the supernet: each batch through one network of the space, every choice equally often."""

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from safetensors import SafetensorError

from mixtransfer.classification.datamodule import ImageDataModule
from mixtransfer.classification.model import model_bytes
from mixtransfer.classification.options import TrainOptions
from mixtransfer.classification.trainer import make_trainer
from mixtransfer.console import in_minutes
from mixtransfer.data.preprocessing import Normalize
from mixtransfer.errors import UserError
from mixtransfer.files import write_atomic
from mixtransfer.schedule import cosine
from mixtransfer.search.options import SearchOptions
from mixtransfer.search.space import Decisions
from mixtransfer.search.supernet import Supernet

Say = Callable[[str], None]

LABEL_SMOOTHING = 0.1
WEIGHT_DECAY = 0.02
WARMUP = 0.05  # share of the steps
CLIP = 1.0


def train_supernet(supernet: Supernet, data: ImageDataModule, options: SearchOptions, weights: Path, say: Say) -> None:
    """Train a supernet and write its weights; a checkpoint beside them, of the last whole epoch, resumes it.

    Raises:
        UserError: The loss is no number any more.
        KeyboardInterrupt, SystemExit: Ctrl-C.
    """
    steps = options.epochs * len(data.train_dataloader())
    module = _SinglePaths(supernet, data, options, steps, say)
    checkpoint = weights.with_suffix(".ckpt")
    keep = ModelCheckpoint(weights.parent, filename=weights.stem, enable_version_counter=False)
    trainer = make_trainer(
        TrainOptions(precision=options.precision, devices=1), [keep],
        max_epochs=options.epochs, gradient_clip_val=CLIP, limit_val_batches=0,
    )  # fmt: skip
    trainer.fit(module, data, ckpt_path=str(checkpoint) if checkpoint.exists() else None, weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    write_atomic(weights, model_bytes(supernet))
    checkpoint.unlink()


def load_supernet(supernet: Supernet, weights: Path) -> None:
    """Load what ``train_supernet`` wrote.

    Raises:
        UserError: It is damaged, or of another space.
    """
    try:
        supernet.load_state_dict(safetensors.torch.load_file(weights))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise UserError(f"{weights} is damaged or of another search: remove it to train the supernet anew.") from error


class _SinglePaths(L.LightningModule):
    """What Lightning trains: the supernet, a fair sample of a network each step."""

    def __init__(self, supernet: Supernet, data: ImageDataModule, options: SearchOptions, steps: int, say: Say):
        super().__init__()
        self.supernet, self.options, self.steps, self.say = supernet, options, steps, say
        assert data.preprocessing
        self.normalize = Normalize(data.preprocessing)
        self.samples: Iterator[Decisions]
        self.began: tuple[float, int] | None = None

    def on_train_epoch_start(self) -> None:
        # What is drawn in an epoch must not depend on whether the training was interrupted before it.
        torch.manual_seed(hash((self.options.seed, self.current_epoch)) % 2**31)
        generator = np.random.default_rng((self.options.seed, self.current_epoch))
        self.samples = self.supernet.space.fair_samples(generator)
        self.began = self.began or (time.perf_counter(), self.current_epoch)

    def training_step(self, batch: tuple[torch.Tensor, ...], batch_idx: int) -> torch.Tensor:
        images, labels = batch
        network = self.supernet.space.architecture(next(self.samples))
        logits = self.supernet(self.normalize(images), network)
        loss = F.cross_entropy(logits, labels, label_smoothing=LABEL_SMOOTHING)
        self.log("train_loss", loss, prog_bar=True, on_step=False, on_epoch=True, batch_size=len(labels))
        return loss

    def on_train_epoch_end(self) -> None:
        assert self.began
        start, first = self.began
        done, epochs = self.current_epoch + 1, self.options.epochs
        left = (time.perf_counter() - start) / (done - first) * (epochs - done)
        loss = float(self.trainer.callback_metrics["train_loss"])
        if not math.isfinite(loss):
            raise UserError("The supernet diverged, its loss is no number any more: lower --lr.")
        self.say(f"Supernet, epoch {done}/{epochs}: loss {loss:.3f}, about {in_minutes(left)} left.")

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        decayed = [p for p in self.supernet.parameters() if p.ndim > 1]
        others = [p for p in self.supernet.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
        fused: dict[str, Any] = {"fused": True} if self.device.type == "cpu" else {}
        optimizer = torch.optim.AdamW(groups, self.options.lr, **fused)
        schedule = cosine(optimizer, self.steps, WARMUP * self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
