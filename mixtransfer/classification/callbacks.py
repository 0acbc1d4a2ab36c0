"""What happens beside the training steps: keeping the best weights, and the history."""

import csv
import io
import time

import lightning as L
import psutil
import safetensors.torch
import torch
from lightning.pytorch.callbacks import Callback

from mixtransfer.classification.metrics import log_loss
from mixtransfer.classification.module import Classifier
from mixtransfer.files import write_atomic
from mixtransfer.run import Run


def model_bytes(model: torch.nn.Module) -> bytes:
    """A network's state as the contents of a safetensors file."""
    return safetensors.torch.save({k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()})


class BestModel(Callback):
    """Writes ``model.safetensors`` whenever validation accuracy (between equals: log loss) is the best so far.

    It stands before weight averaging in the list of callbacks, so that it sees the averaged weights, which are
    the ones that were validated.
    """

    def __init__(self, run: Run | None):
        self.run = run
        self.best: list[float] | None = None
        self.epoch = 0

    def on_validation_epoch_end(self, trainer: L.Trainer, module: Classifier) -> None:
        predictions = module.take_predictions()
        top1 = float((predictions.predicted == predictions.labels).mean())
        loss = log_loss(predictions)
        module.log_dict({"val_top1": top1, "val_loss": loss}, prog_bar=True)
        if self.best is None or (top1, -loss) > tuple(self.best):
            self.best = [top1, -loss]
            self.epoch = trainer.current_epoch + 1 if trainer.training or trainer.state.fn == "fit" else 0
            if self.run and trainer.is_global_zero:
                write_atomic(self.run.weights, model_bytes(module.model))

    def state_dict(self) -> dict:
        return {"best": self.best, "epoch": self.epoch}

    def load_state_dict(self, state: dict) -> None:
        self.best, self.epoch = state["best"], state["epoch"]


class History(Callback):
    """Keeps a row an epoch, in the checkpoint and in ``metrics.csv``.

    Columns: epoch (0 is the fitted head), train_loss, val_loss, val_top1, lr (of the head), seconds (of the whole
    epoch), images_per_second (of its training part) and rss_mb (resident memory of the main process).
    """

    def __init__(self, run: Run | None, images: int):
        self.run, self.images = run, images
        self.rows: list[dict[str, float | None]] = []

    def on_validation_end(self, trainer: L.Trainer, module: Classifier) -> None:
        if trainer.state.fn == "validate":
            self._add(trainer, epoch=0, train_loss=None, lr=None, seconds=None, images_per_second=None)

    def on_train_epoch_start(self, trainer: L.Trainer, module: Classifier) -> None:
        self._start = time.perf_counter()

    def on_validation_start(self, trainer: L.Trainer, module: Classifier) -> None:
        self._trained = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, module: Classifier) -> None:
        self._add(
            trainer,
            epoch=trainer.current_epoch + 1,
            train_loss=float(trainer.callback_metrics["train_loss_epoch"]),
            lr=max(group["lr"] for group in trainer.optimizers[0].param_groups),
            seconds=time.perf_counter() - self._start,
            images_per_second=self.images / (self._trained - self._start),
        )

    def _add(self, trainer: L.Trainer, **row: float | None) -> None:
        row["val_loss"] = float(trainer.callback_metrics["val_loss"])
        row["val_top1"] = float(trainer.callback_metrics["val_top1"])
        row["rss_mb"] = psutil.Process().memory_info().rss / 2**20
        self.rows.append(row)
        if self.run and trainer.is_global_zero:
            text = io.StringIO()
            writer = csv.DictWriter(text, list(self.rows[-1]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(
                {key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()}
                for row in self.rows
            )
            write_atomic(self.run.folder / "metrics.csv", text.getvalue())

    def state_dict(self) -> dict:
        return {"rows": self.rows}

    def load_state_dict(self, state: dict) -> None:
        self.rows = state["rows"]
