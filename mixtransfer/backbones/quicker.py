"""The same layers with fewer passes over memory: what makes a training step quick on the CPU.

A MixNet's multiply-adds are few, so what counts is how often its activations are read and written. ``make_quicker``
changes three things that timm writes for clarity. Results and gradients stay the same up to rounding, and parameters
keep their names.
"""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers.mixed_conv2d import MixedConv2d
from timm.models._efficientnet_blocks import SqueezeExcite
from torch import nn

# Their gradients need the input, so that autograd keeps a copy of what they overwrite.
_COPY_IN_PLACE = (nn.SiLU, nn.Hardswish, nn.Mish)


class GroupedPointwise(MixedConv2d):
    """timm's 1×1 convolutions in groups of equal width, in one call without splitting and joining."""

    def __init__(self, layer: MixedConv2d) -> None:
        nn.ModuleDict.__init__(self, dict(layer.items()))
        self.in_channels, self.out_channels, self.splits = layer.in_channels, layer.out_channels, layer.splits
        self.train(layer.training)

    @staticmethod
    def fits(layer: nn.Module) -> bool:
        """Whether a layer is such a one."""
        if type(layer) is not MixedConv2d:
            return False
        convs = list(layer.values())
        plain = all(type(conv) is nn.Conv2d and conv.kernel_size == (1, 1) and conv.groups == 1 for conv in convs)
        return plain and len({(c.in_channels, c.out_channels, c.stride, c.padding, c.bias is None) for c in convs}) == 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.convolve(x, *self.kernels())

    def kernels(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Weight (channels out, channels in of a group, 1, 1) and bias, or None, of all groups."""
        convs: list[Any] = list(self.values())
        bias = None if convs[0].bias is None else torch.cat([conv.bias for conv in convs])
        return torch.cat([conv.weight for conv in convs]), bias

    def convolve(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        first: Any = self["0"]
        return F.conv2d(x, weight, bias, first.stride, first.padding, groups=len(self))


def make_quicker(model: nn.Module) -> nn.Module:
    """Change a network's layers in place, and return it; ``fold_batch_norm`` must be called (again) after it."""
    layer: Any
    for name, layer in list(model.named_modules()):
        if GroupedPointwise.fits(layer):
            model.set_submodule(name, GroupedPointwise(layer))
        elif type(layer) is SqueezeExcite:
            layer.forward = partial(_squeeze_and_excite, layer)  # type: ignore[method-assign]
        elif isinstance(layer, _COPY_IN_PLACE) and getattr(layer, "inplace", False):
            layer.inplace = False
    return model


def _squeeze_and_excite(layer: SqueezeExcite, x: torch.Tensor) -> torch.Tensor:
    """The 1×1 convolutions of a 1×1 map as matrix products; the mean as a sum, whose gradient takes no memory."""
    pooled = x.sum((2, 3)) / (x.shape[2] * x.shape[3])
    reduce, expand = layer.conv_reduce, layer.conv_expand
    hidden = layer.act1(F.linear(pooled, reduce.weight.flatten(1), reduce.bias))
    gate = layer.gate(F.linear(hidden, expand.weight.flatten(1), expand.bias))
    return x * gate[:, :, None, None]
