"""Trainings of a detector in a few seconds."""

from pathlib import Path

from mixtransfer.detection.options import TrainOptions


def tiny(data: Path, output: Path, **changes) -> TrainOptions:
    """Options of a training of a few seconds from scratch."""
    small = {"backbone": "mobilenetv3_small_050", "weights": "none", "image_size": 96, "batch_size": 4, "workers": 0}
    options = {"data": str(data), "output": str(output), "iterations": 6, "eval_every": 3, **small, **changes}
    return TrainOptions(**options)
