"""The learning rate over a training."""

import math

import torch
from torch.optim.lr_scheduler import LambdaLR


def cosine(optimizer: torch.optim.Optimizer, steps: float, warmup: float) -> LambdaLR:
    """A linear rise to the peak, and a fall to 0 by half a cosine (Loshchilov & Hutter, "SGDR", ICLR 2017).

    The fall goes on during the rise: torch's ``SequentialLR`` would begin it afterwards.

    Args:
        steps: Optimizer steps of the whole training; of an endless one (``math.inf``) the rate stays at its peak.
        warmup: Steps of the rise.
    """

    def share_of_peak(step: int) -> float:
        rise = min(1.0, (step + 1) / (warmup + 1))
        return rise * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))

    return LambdaLR(optimizer, share_of_peak)
