"""Trainings of a few seconds."""

from pathlib import Path

import pytest

from mixtransfer.classification.callbacks import History
from mixtransfer.classification.options import TrainOptions
from mixtransfer.classification.train import train

TINY = {"backbone": "mobilenetv3_small_050", "weights": "none", "image_size": 32, "epochs": 3, "workers": 0}


def tiny(data: Path, output: Path, **changes) -> TrainOptions:
    """Options of a training of a few seconds from scratch."""
    return TrainOptions(**{"data": str(data), "output": str(output), "batch_size": 8, "lr": 5e-4, **TINY, **changes})


def train_interrupted(options: TrainOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin a training that Ctrl-C ends after its second epoch."""
    ended = History.on_train_epoch_end

    def interrupt(self, trainer, module):
        ended(self, trainer, module)
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(History, "on_train_epoch_end", interrupt)
        with pytest.raises(BaseException, match="Go on with"):
            train(options)
