"""The exponential moving average of the weights that both trainings evaluate and keep."""

from collections.abc import Callable

import torch
from torch.optim.swa_utils import PARAM_LIST, get_ema_multi_avg_fn


def moving_average(window: float) -> Callable[[PARAM_LIST, PARAM_LIST, torch.Tensor | int], None]:
    """How torch's ``AveragedModel`` is to average: for its argument ``multi_avg_fn``.

    Args:
        window: Number of updates that the average reaches back, at least 2. At first it is half of those so far:
            otherwise a network from scratch would be judged by its random start for as long.
    """

    def update(averages: PARAM_LIST, values: PARAM_LIST, updates: torch.Tensor | int) -> None:
        updates = int(updates)
        get_ema_multi_avg_fn(min(1 - 1 / max(2, window), updates / (updates + 2)))(averages, values, updates)

    return update
