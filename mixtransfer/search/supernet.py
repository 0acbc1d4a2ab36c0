"""The supernet: one set of weights that every network of the space takes its own from.

A network's convolutions use the first channels of the widest ones, as in slimmable networks (Yu et al., ICLR 2019) and
Once-for-All (Cai et al., ICLR 2020). Depthwise kernels are shared by size: the 5×5 group of any MixConv takes the rows
of its own channels from one set of 5×5 kernels, so that a channel has the same neighbours in every choice. BatchNorm
takes the statistics of the batch; a network that is to be scored gets statistics of its own.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from mixtransfer.backbones import Architecture, MixConv2d, architecture_spec, create_backbone
from mixtransfer.backbones.architecture import Block
from mixtransfer.backbones.mixconv import reset_depthwise, split_channels
from mixtransfer.backbones.replace import depthwise_layers
from mixtransfer.search.space import KERNELS, Space

_ACTIVATIONS = {"re": F.relu, "sw": F.silu}


class Supernet(nn.Module):
    """The shared weights of a space; called with an architecture of it: images (n, 3, h, w) to logits (n, classes).

    It computes what the network of the architecture does in training mode, without the time that building it takes.

    Attributes:
        widest: The widest and deepest network, whose other depthwise layers than the first are kernels of all sizes.
    """

    def __init__(self, space: Space):
        super().__init__()
        self.space = space
        self.widest: Any = self._build(space.architecture(space.largest))
        for layer in self.widest.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean = layer.running_var = layer.num_batches_tracked = None
                layer.track_running_stats = False
        _, *others = depthwise_layers(self.widest).items()
        for name, layer in others:
            self.widest.set_submodule(name, _kernels(layer.in_channels))

    def forward(self, images: torch.Tensor, architecture: Architecture) -> torch.Tensor:
        widest = self.widest
        x = widest.blocks[0](widest.bn1(widest.conv_stem(images)))
        for stage, shared in zip(architecture.blocks[1:], widest.blocks[1:], strict=True):
            for text, block in zip(stage, shared, strict=False):
                x = _inverted_residual(x, Block.parse(text), block)
        x = widest.bn2(F.conv2d(x, _part(widest.conv_head.weight, widest.num_features, x.shape[1])))
        return widest.forward_head(x)

    @torch.no_grad()
    def standalone(self, architecture: Architecture, batches: Iterable[torch.Tensor]) -> nn.Module:
        """A copy of one network, in evaluation mode, with BatchNorm statistics of these inputs (n, 3, h, w)."""
        network = self._build(architecture).to(next(self.parameters()).device).to(memory_format=torch.channels_last)
        network.load_state_dict(self._weights_of(network), strict=False)  # all but the statistics
        torch.optim.swa_utils.update_bn(batches, network)
        return network.eval()

    def _weights_of(self, network: nn.Module) -> dict[str, torch.Tensor]:
        """Views of the shared weights, by their names in a network of the space."""
        weights: dict[str, torch.Tensor] = {}
        for name, layer in depthwise_layers(network).items():
            shared = self.widest.get_submodule(name)
            if isinstance(layer, MixConv2d):
                parts = _kernel_parts(shared, layer.in_channels, layer.kernel_sizes)
                weights |= {f"{name}.{i}.weight": part for i, part in enumerate(parts)}
            elif isinstance(shared, nn.ParameterDict):
                (weights[f"{name}.weight"],) = _kernel_parts(shared, layer.in_channels, layer.kernel_size[:1])
        for name, parameter in network.named_parameters():
            if name not in weights:
                weights[name] = _part(self.widest.get_parameter(name), *parameter.shape)
        return weights

    def _build(self, architecture: Architecture) -> nn.Module:
        return create_backbone(architecture_spec(architecture), "none", self.space.num_classes)


def _kernels(channels: int) -> nn.ParameterDict:
    """Depthwise kernels of each size for all channels."""
    sizes = {}
    for side in KERNELS:
        conv = nn.Conv2d(channels, channels, side, groups=channels, bias=False)
        reset_depthwise(conv)
        sizes[str(side)] = conv.weight
    return nn.ParameterDict(sizes)


def _inverted_residual(x: torch.Tensor, block: Block, shared: Any) -> torch.Tensor:
    """What timm's ``InvertedResidual`` computes, with the first channels of the shared weights."""
    act = _ACTIVATIONS[block.activation]
    inputs, middle = x.shape[1], round(x.shape[1] * block.expand)
    y = act(_norm(F.conv2d(x, _part(shared.conv_pw.weight, middle, inputs)), shared.bn1))
    kernels = _kernel_parts(shared.conv_dw, middle, block.kernels)
    parts = [
        F.conv2d(part, kernel, stride=block.stride, padding=kernel.shape[-1] // 2, groups=len(kernel))
        for part, kernel in zip(y.split([len(kernel) for kernel in kernels], 1), kernels, strict=True)
    ]
    y = act(_norm(torch.cat(parts, 1), shared.bn2))
    if block.se:
        reduced = round(middle * (block.se / block.expand))
        gate, reduce, expand = y.mean((2, 3), keepdim=True), shared.se.conv_reduce, shared.se.conv_expand
        gate = act(F.conv2d(gate, _part(reduce.weight, reduced, middle), reduce.bias[:reduced]))
        y = y * F.conv2d(gate, _part(expand.weight, middle, reduced), expand.bias[:middle]).sigmoid()
    y = _norm(F.conv2d(y, _part(shared.conv_pwl.weight, block.channels, middle)), shared.bn3)
    return x + y if x.shape == y.shape and block.stride == 1 else y


def _kernel_parts(shared: nn.ParameterDict, channels: int, sizes: Sequence[int]) -> list[torch.Tensor]:
    """The kernels of each group of a MixConv."""
    splits = split_channels(channels, len(sizes))
    ends = [sum(splits[: i + 1]) for i in range(len(splits))]
    return [shared[str(size)][end - n : end] for size, n, end in zip(sizes, splits, ends, strict=True)]


def _norm(x: torch.Tensor, shared: nn.BatchNorm2d) -> torch.Tensor:
    channels = x.shape[1]
    return F.batch_norm(x, None, None, shared.weight[:channels], shared.bias[:channels], True, eps=shared.eps)


def _part(weight: torch.Tensor, *shape: int) -> torch.Tensor:
    """The first rows, columns, … of a tensor."""
    return weight[tuple(map(slice, shape))]
