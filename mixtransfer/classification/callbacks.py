"""What happens beside the training steps: keeping the weights, and the history."""

import csv
import io
import time
from collections.abc import Callable
from typing import Any

import lightning as L
import psutil
from lightning.pytorch.callbacks import Callback

from mixtransfer.classification.model import model_bytes
from mixtransfer.classification.module import ImageClassifier
from mixtransfer.classification.selection import judge
from mixtransfer.common.files import write_atomic
from mixtransfer.errors import UserError
from mixtransfer.runs.run import Run

JUDGED = "val_calibrated_loss"  # what selection goes by


class KeptModel(Callback):
    """Writes ``model.safetensors`` after each epoch, or only after those that do better than all before.

    By default the last epoch's weights are kept: the learning rate has come to rest there, and which of many epochs
    does best on a few validation images is mostly chance. Better is what ``selection.judge`` says.
    Where weights are averaged, those are the averages, which were validated (see ``WeightAverage``).

    Attributes:
        epoch: The epoch whose weights are kept; 0 is the fitted head.
    """

    def __init__(self, run: Run | None, best_only: bool):
        self.run, self.best_only = run, best_only
        self.loss = float("inf")
        self.epoch = 0

    def on_validation_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, ImageClassifier)
        loss = judge(module.take_predictions(), module.class_weights).loss
        module.log(JUDGED, loss, logger=self.best_only)
        if trainer.state.fn == "fit" and self.best_only and loss >= self.loss:
            return
        if trainer.state.fn == "fit":  # not the fitted head alone
            self.loss, self.epoch = loss, trainer.current_epoch + 1
        if self.run:
            write_atomic(self.run.weights, model_bytes(module.model))

    def state_dict(self) -> dict:
        return {"loss": self.loss, "epoch": self.epoch}

    def load_state_dict(self, state: dict) -> None:
        self.loss, self.epoch = state["loss"], state["epoch"]


class History(Callback):
    """Keeps a row an epoch, in the checkpoint and in ``metrics.csv``.

    Columns: epoch (0 is the fitted head), train_loss, val_loss, val_top1 (of several labels val_mAP), lr (of the head,
    in the last step), seconds (of the whole epoch), images_per_second (of its training part) and rss_mb (resident
    memory of the main process).

    Args:
        run: None in all processes but the first.
        images: Number of those that are trained on.
        validates: Whether those to validate on are not among them: otherwise columns of validation are empty.
    """

    def __init__(self, run: Run | None, images: int, say: Callable[[str], None], validates: bool = True):
        self.run, self.images, self.say, self.validates = run, images, say, validates
        self.rows: list[dict[str, Any]] = []

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.state.fn == "validate":
            self._add(trainer, epoch=0, train_loss=None, lr=None, seconds=None, images_per_second=None)

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._start = time.perf_counter()

    def on_train_batch_start(
        self, trainer: L.Trainer, module: L.LightningModule, batch: object, batch_idx: int
    ) -> None:
        self._lr = max(group["lr"] for group in trainer.optimizers[0].param_groups)

    def on_validation_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._trained = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._add(
            trainer,
            epoch=trainer.current_epoch + 1,
            train_loss=float(trainer.callback_metrics["train_loss"]),
            lr=self._lr,
            seconds=time.perf_counter() - self._start,
            images_per_second=self.images / (self._trained - self._start),
        )

    def _add(self, trainer: L.Trainer, **row: Any) -> None:
        sees = self.validates or row["epoch"] == 0
        for name in ("val_loss", "val_mAP" if "val_mAP" in trainer.callback_metrics else "val_top1"):
            row[name] = float(trainer.callback_metrics[name]) if sees else None
        row["rss_mb"] = psutil.Process().memory_info().rss / 2**20
        self.rows.append(row)
        self.say(_in_words(row, trainer.max_epochs))
        if self.run:
            text = io.StringIO()
            writer = csv.DictWriter(text, list(self.rows[-1]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(
                {key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()}
                for row in self.rows
            )
            write_atomic(self.run.history, text.getvalue())

    def on_load_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        if checkpoint["epoch"] >= (trainer.max_epochs or 0):
            raise UserError(
                f"The run has trained {checkpoint['epoch'] + 1} epochs already, more than the {trainer.max_epochs} "
                "that its config.yaml says: change that back."
            )

    def state_dict(self) -> dict:
        return {"rows": self.rows}

    def load_state_dict(self, state: dict) -> None:
        self.rows = state["rows"]


def _in_words(row: dict[str, Any], epochs: int | None) -> str:
    validated = ""
    if row["val_loss"] is not None:
        score = f"mAP {100 * row['val_mAP']:.2f}" if "val_mAP" in row else f"{100 * row['val_top1']:.2f}"
        validated = f"validation {score} % (log loss {row['val_loss']:.4f})"
    if row["epoch"] == 0:
        return f"Head on frozen features: {validated}"
    parts = [f"loss {row['train_loss']:.4f}", validated, f"{row['seconds']:.0f} s"]
    words = ", ".join(part for part in [*parts, f"{row['images_per_second']:.0f} images/s"] if part)
    return f"Epoch {row['epoch']}/{epochs}: {words}"
