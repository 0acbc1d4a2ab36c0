"""Building a network whose weights come from a file: its own, random ones would be drawn for nothing."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_IN_PLACE = ("normal_", "uniform_", "log_normal_", "bernoulli_", "exponential_", "cauchy_", "geometric_", "random_")
_SKIPPED = {getattr(torch.Tensor, name) for name in _IN_PLACE} | {
    value
    for name, value in vars(torch.nn.init).items()
    if name.startswith(("kaiming_", "xavier_", "normal_", "uniform_", "trunc_normal_", "orthogonal_", "sparse_"))
}
_DRAWN = {torch.rand, torch.randn, torch.randint, torch.randperm, torch.normal, torch.bernoulli, torch.multinomial}


class SkipInit(TorchFunctionMode):
    """Within, in this thread alone, nothing is drawn from the generators that all share.

    What would fill a tensor at random leaves it as it is, in whatever the memory holds: load weights into it. A random
    tensor, which a network may be built from, is drawn by a generator of its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self._generator = torch.Generator().manual_seed(0)

    def __torch_function__(
        self, func: Callable, types: Sequence[type], args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _SKIPPED:
            return args[0] if args else kwargs["tensor"]
        if func in _DRAWN:
            kwargs = {"generator": self._generator, **kwargs}
        return func(*args, **kwargs)
