"""Trainings of a few seconds."""

from pathlib import Path

from mixtransfer.classification.options import TrainOptions

TINY = {"backbone": "mobilenetv3_small_050", "weights": "none", "image_size": 32, "epochs": 3, "workers": 0}


def tiny(data: Path, output: Path, **changes) -> TrainOptions:
    """Options of a training of a few seconds from scratch."""
    return TrainOptions(**{"data": str(data), "output": str(output), "batch_size": 8, "lr": 5e-4, **TINY, **changes})
