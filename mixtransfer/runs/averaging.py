"""The exponential moving average of the weights that both trainings evaluate and keep."""

from itertools import chain

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class MovingAverage(AveragedModel):
    """torch's average of a network, exponentially and of the buffers too, which waits for no GPU.

    torch's own update looks at the number of updates on the device. Here that lies on the CPU.

    Attributes:
        window: Number of updates that the average reaches back, at least 2. At first it is half of those so far:
            otherwise a network from scratch would be judged by its random start for as long.
    """

    def __init__(self, model: nn.Module, window: float = 2.0):
        super().__init__(model, use_buffers=True)
        self.window = window
        self.count_on_cpu()

    def count_on_cpu(self) -> None:
        """To be called when it has been moved to another device."""
        self.n_averaged = torch.tensor(0) if self.n_averaged.is_meta else self.n_averaged.cpu()

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Take in the weights and buffers that ``model``, which is on the same device, has now."""
        updates = int(self.n_averaged)
        averages, values = ([*chain(one.parameters(), one.buffers())] for one in (self.module, model))
        average = get_ema_multi_avg_fn(min(1 - 1 / max(2, self.window), updates / (updates + 2)))
        for whole in (False, True):  # torch's function wants one kind of number
            pairs = [pair for pair in zip(averages, values, strict=True) if pair[0].is_floating_point() is not whole]
            if not pairs:
                continue
            into, of = map(list, zip(*pairs, strict=True))
            average(into, of, updates) if updates else torch._foreach_copy_(into, of)
        self.n_averaged += 1
