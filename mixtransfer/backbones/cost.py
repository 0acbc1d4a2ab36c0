"""What a network costs: its parameters and its multiply-adds."""

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mixtransfer.backbones.mixconv import MixConv2d


def count_parameters(model: nn.Module) -> int:
    """Number of learnable numbers, the classifier included; BatchNorm's running statistics are not learnt.

    Examples:
        >>> count_parameters(nn.Conv2d(3, 8, 1))
        32
    """
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: nn.Module, input_size: tuple[int, int, int] = (3, 224, 224)) -> int:
    """Multiply-adds of one image through the convolutions and matrix products; the paper calls them FLOPS.

    BatchNorm, activations and pooling are not counted, as is usual in the MobileNet literature (BatchNorm folds into
    the convolution before it at inference). A merged MixConv is counted as the MixConv that it computes, without the
    zeros. Nothing is computed: the shapes run through a copy without memory, and the model is left as it was.

    Args:
        model: Any network that takes a batch of images.
        input_size: Channels, height and width.

    Examples:
        >>> count_macs(nn.Conv2d(3, 8, 1), (3, 10, 10))  # a multiply-add for each of 3 × 8 weights and 100 pixels
        2400
    """
    ghost = _without_memory(model).eval()
    for layer in ghost.modules():
        if isinstance(layer, MixConv2d):
            layer.merged = False
        elif isinstance(layer, nn.BatchNorm2d):
            vars(layer)["forward"] = _as_it_is  # neither counted nor a change of shape, and half of the time
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        ghost(torch.empty(1, *input_size, device="meta"))
    return counter.get_total_flops() // 2


def _as_it_is(x: torch.Tensor) -> torch.Tensor:
    return x


def _without_memory(model: nn.Module) -> nn.Module:
    """A deep copy whose tensors have shapes only."""
    # deepcopy takes from ``memo`` what it has met before, so no weight is ever copied.
    memo: dict[int, torch.Tensor] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)
    for buffer in model.buffers():
        memo[id(buffer)] = buffer.detach().to("meta")
    return copy.deepcopy(model, memo)
