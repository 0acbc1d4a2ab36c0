"""The progress bar of a training."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import TQDMProgressBar


class LossBar(TQDMProgressBar):
    """Lightning's, but that it reads the loss of an ``ImageClassifier`` only when it is drawn."""

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        shown: dict[str, Any] = super().get_metrics(trainer, pl_module)
        loss = getattr(pl_module, "last_loss", None)
        return shown if loss is None else {**shown, "loss": f"{loss.item():.3f}"}
