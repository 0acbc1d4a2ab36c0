"""The exponential moving average of the weights that both trainings evaluate and keep."""

from torch.optim.swa_utils import PARAM_LIST, AveragedModel, get_ema_multi_avg_fn


def average_over(average: AveragedModel, window: float) -> None:
    """Have torch's ``AveragedModel``, which lies where it will be updated, average exponentially.

    The number of its updates lies on the CPU from now on: to look at it on a GPU would wait for the step.

    Args:
        window: Number of updates that the average reaches back, at least 2. At first it is half of those so far:
            otherwise a network from scratch would be judged by its random start for as long.
    """

    def update(averages: PARAM_LIST, values: PARAM_LIST, _: object) -> None:
        updates = int(average.n_averaged)
        get_ema_multi_avg_fn(min(1 - 1 / max(2, window), updates / (updates + 2)))(averages, values, updates)

    average.n_averaged = average.n_averaged.cpu()
    average.multi_avg_fn = update
