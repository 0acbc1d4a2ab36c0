"""The elastic network: one set of weights that every network of a space takes its own from.

What is shared is nested. Of the channels of each layer a narrower network has those that count most in the network that
was begun with, or the first; of the blocks of a stage a shallower one has the first; and a smaller kernel is the middle
of the largest one times a learnt matrix (Once-for-All, Cai et al., ICLR 2020): kernels of different sizes with weights
of their own would each time change what the channels mean to the 1×1 convolutions that they share. BatchNorm takes the
statistics of the batch; a network that is to be scored gets statistics of its own.
"""

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import make_divisible
from torch import nn

from mixtransfer.backbones import Architecture, MixConv2d, architecture_spec, create_backbone
from mixtransfer.backbones.architecture import Block
from mixtransfer.backbones.mixconv import reset_depthwise, split_channels
from mixtransfer.search.space import KERNELS, Space

_ACTIVATIONS = {"": F.relu, "re": F.relu, "r6": F.relu6, "sw": F.silu, "hs": F.hardswish, "mi": F.mish}

Weights = dict[str, torch.Tensor]


class NestedKernels(nn.Module):
    """Depthwise kernels of the largest size, from whose middle the smaller ones are made, by matrices that are learnt.

    The matrices begin as the identity, of which they hold the difference, so that weight decay draws them to it.
    """

    def __init__(self, channels: int):
        super().__init__()
        conv = nn.Conv2d(channels, channels, KERNELS[-1], groups=channels, bias=False)
        reset_depthwise(conv)
        self.weight = conv.weight
        self.changes = nn.ParameterDict({str(side): torch.zeros(side**2, side**2) for side in KERNELS[:-1]})

    def forward(self, channels: torch.Tensor, side: int) -> torch.Tensor:
        """Kernels of a size, shape (n, 1, side, side), of some channels, shape (n,)."""
        margin = (KERNELS[-1] - side) // 2
        kernels = self.weight[channels]
        if not margin:
            return kernels
        middle = kernels[:, :, margin:-margin, margin:-margin].flatten(1)
        return (middle + middle @ self.changes[str(side)]).view(-1, 1, side, side)

    @torch.no_grad()
    def fill(self, layer: nn.Module) -> None:
        """Take over the kernels of a depthwise layer, with zeros around those that are smaller."""
        convs: list[Any] = list(layer) if isinstance(layer, MixConv2d) else [layer]
        padded = [F.pad(conv.weight, [(KERNELS[-1] - conv.kernel_size[0]) // 2] * 4) for conv in convs]
        self.weight.copy_(torch.cat(padded))


class ElasticNetwork(nn.Module):
    """The shared weights of a space: normalised images (n, 3, h, w) to logits (n, classes).

    Called with an architecture of the space it computes what that network does in training mode, without the time that
    building it takes; by itself what the largest network does in either mode, whose statistics it keeps.

    Args:
        space: The networks.
        trained: A network to begin with, of whose architecture the space is (``Space.of_trained``). The largest network
            then computes what this one does, but for the classifier.

    Attributes:
        largest: The architecture of the largest network.
        widest: That network, whose depthwise layers but those of the first stage are ``NestedKernels``.
    """

    def __init__(self, space: Space, trained: nn.Module | None = None):
        super().__init__()
        self.space, self.num_classes = space, space.num_classes
        self.largest = space.architecture(space.largest)
        self.widest: Any = self._build(self.largest)
        self.pretrained_cfg = self.widest.pretrained_cfg
        grouped = any(len(f.expand_kernels + f.project_kernels) > 2 for stage in space.stages for f in stage.frames)
        self.parts = 2 if grouped else 1  # of the channels, which narrower networks take equally many of
        stages: Any = self.widest.blocks
        for block in (block for stage in stages[1:] for block in stage):
            block.conv_dw = NestedKernels(block.bn2.num_features)
        if trained is not None:
            self._fill(trained)
        # Places of the channels of each layer, those that count most first: no buffers, which would be averaged.
        self._order = {
            name: torch.arange(len(counts)) if trained is None else counts.argsort(descending=True, stable=True)
            for name, counts in self._importance().items()
        }
        self._places: dict[tuple[str, int, torch.device], torch.Tensor] = {}

    def get_extra_state(self) -> torch.Tensor:
        return torch.cat(list(self._order.values()))

    def set_extra_state(self, state: torch.Tensor) -> None:
        orders = state.cpu().split([len(order) for order in self._order.values()])
        self._order = dict(zip(self._order, orders, strict=True))
        self._places.clear()

    def forward(self, images: torch.Tensor, architecture: Architecture | None = None) -> torch.Tensor:
        architecture = architecture or self.largest
        weights, widest = self.weights(architecture), self.widest
        x = widest.blocks[0](widest.bn1(widest.conv_stem(images)))
        for i, stage in enumerate(architecture.blocks[1:], 1):
            for j, text in enumerate(stage):
                prefix = f"blocks.{i}.{j}."
                own = {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}
                norms = widest.blocks[i][j] if architecture == self.largest else None
                x = _inverted_residual(x, Block.parse(text), own, norms)
        x = F.conv2d(x, weights["conv_head.weight"])
        norms = widest if architecture == self.largest else None
        return widest.forward_head(widest.bn2.act(_norm(x, "bn2", weights, norms)))

    def weights(self, architecture: Architecture) -> Weights:
        """The weights of a network of the space, by their names in it, as differentiable parts of the shared ones."""
        widest = self.widest
        fixed = ("conv_stem.", "bn1.", "blocks.0.", "bn2.", "classifier.")
        found = {name: weight for name, weight in widest.named_parameters() if name.startswith(fixed)}
        device = widest.conv_head.weight.device
        inputs = torch.arange(Block.parse(architecture.blocks[0][-1]).channels, device=device)
        for i, stage in enumerate(architecture.blocks[1:], 1):
            outputs = self._most(f"stage{i}", Block.parse(stage[0]).channels)
            for j, text in enumerate(stage):
                own = self._of_block(i, j, Block.parse(text), inputs, outputs)
                found |= {f"blocks.{i}.{j}.{name}": weight for name, weight in own.items()}
                inputs = outputs
        return found | {"conv_head.weight": widest.conv_head.weight[:, inputs]}

    @torch.no_grad()
    def standalone(self, architecture: Architecture, batches: Iterable[torch.Tensor]) -> nn.Module:
        """A copy of one network, in evaluation mode, with BatchNorm statistics of these inputs (n, 3, h, w)."""
        network = self._build(architecture).to(next(self.parameters()).device).to(memory_format=torch.channels_last)
        network.load_state_dict(self.weights(architecture), strict=False)  # all but the statistics
        torch.optim.swa_utils.update_bn(batches, network)
        return network.eval()

    def _of_block(self, i: int, j: int, block: Block, inputs: torch.Tensor, outputs: torch.Tensor) -> Weights:
        """The weights of one inverted residual between some of the channels."""
        shared, name = self.widest.blocks[i][j], f"stage{i}.block{j}"
        middle = self._most(name, make_divisible(len(inputs) * block.expand))
        norms = {"bn1": middle, "bn2": middle, "bn3": outputs}
        found = _pointwise("conv_pw", shared.conv_pw, middle, inputs)
        found |= _pointwise("conv_pwl", shared.conv_pwl, outputs, middle)
        found |= {
            f"{key}.{kind}": getattr(getattr(shared, key), kind)[places]
            for key, places in norms.items()
            for kind in ("weight", "bias")
        }
        sides = block.kernels
        groups = middle.split(split_channels(len(middle), len(sides)))
        for g, (places, side) in enumerate(zip(groups, sides, strict=True)):
            found[f"conv_dw.{g}.weight" if len(sides) > 1 else "conv_dw.weight"] = shared.conv_dw(places, side)
        if block.se:
            reduce, expand = shared.se.conv_reduce, shared.se.conv_expand
            gates = self._most(f"{name}.gate", round(len(middle) * (block.se / block.expand)), parts=1)
            found |= {
                "se.conv_reduce.weight": reduce.weight[gates][:, middle],
                "se.conv_reduce.bias": reduce.bias[gates],
                "se.conv_expand.weight": expand.weight[middle][:, gates],
                "se.conv_expand.bias": expand.bias[middle],
            }
        return found

    def _most(self, name: str, count: int, parts: int | None = None) -> torch.Tensor:
        """Rising places of the channels that count most, shape (count,), equally many of each part of them."""
        device, parts = self.widest.conv_head.weight.device, parts or self.parts
        key = name, count, device
        if key not in self._places:
            order = self._order[name]
            of_parts = (order[order // (len(order) // parts) == part][: count // parts] for part in range(parts))
            self._places[key] = torch.cat([places.sort().values for places in of_parts]).to(device)
        return self._places[key]

    @torch.no_grad()
    def _fill(self, trained: nn.Module) -> None:
        """Take over a network's weights and statistics but for the classifier's."""
        given = trained.state_dict()
        for name, weight in self.widest.state_dict().items():
            if name.startswith("blocks.0.") or not ("conv_dw." in name or name.startswith("classifier.")):
                weight.copy_(given[name])
        for i, stage in enumerate(self.widest.blocks[1:], 1):
            for j, block in enumerate(stage):
                block.conv_dw.fill(trained.get_submodule(f"blocks.{i}.{j}.conv_dw"))

    @torch.no_grad()
    def _importance(self) -> dict[str, torch.Tensor]:
        """How much of what comes next depends on each channel of a layer: sums of absolute weights, as in OFA."""
        found, blocks = {}, self.widest.blocks
        for i, stage in enumerate(blocks[1:], 1):
            after = blocks[i + 1][0].conv_pw if i + 1 < len(blocks) else self.widest.conv_head
            readers = [_inputs_weigh(layer) for layer in [*(block.conv_pw for block in stage[1:]), after]]
            found[f"stage{i}"] = torch.stack([reader / reader.mean() for reader in readers]).sum(0)
            for j, block in enumerate(stage):
                found[f"stage{i}.block{j}"] = _inputs_weigh(block.conv_pwl)
                if hasattr(block.se, "conv_expand"):
                    found[f"stage{i}.block{j}.gate"] = _inputs_weigh(block.se.conv_expand)
        return found

    def _build(self, architecture: Architecture) -> nn.Module:
        return create_backbone(architecture_spec(architecture), "none", self.space.num_classes)


def _convolutions(layer: Any) -> list[Any]:
    """A 1×1 convolution, or those of its groups."""
    return [layer] if isinstance(layer, nn.Conv2d) else list(layer.values())


def _inputs_weigh(layer: nn.Module) -> torch.Tensor:
    """The sum of absolute weights of each input channel of a 1×1 convolution."""
    return torch.cat([conv.weight.abs().sum((0, 2, 3)) for conv in _convolutions(layer)])


def _pointwise(name: str, layer: nn.Module, outputs: torch.Tensor, inputs: torch.Tensor) -> Weights:
    """The part of a 1×1 convolution, or of each of its groups, between some channels."""
    convs = _convolutions(layer)
    if len(convs) == 1:
        return {f"{name}.weight": convs[0].weight[outputs][:, inputs]}
    chunks = zip(convs, outputs.chunk(len(convs)), inputs.chunk(len(convs)), strict=True)
    return {
        f"{name}.{g}.weight": conv.weight[out - g * conv.out_channels][:, into - g * conv.in_channels]
        for g, (conv, out, into) in enumerate(chunks)
    }


def _inverted_residual(x: torch.Tensor, block: Block, weights: Weights, norms: nn.Module | None) -> torch.Tensor:
    """What timm's ``InvertedResidual`` computes with these weights; for ``norms`` see ``_norm``."""
    act = _ACTIVATIONS[block.activation]
    y = act(_norm(_convolve_points(x, "conv_pw", weights), "bn1", weights, norms))
    kernels = [weight for name, weight in weights.items() if name.startswith("conv_dw.")]
    parts = [
        F.conv2d(part, kernel, stride=block.stride, padding=kernel.shape[-1] // 2, groups=len(kernel))
        for part, kernel in zip(y.split([len(kernel) for kernel in kernels], 1), kernels, strict=True)
    ]
    y = act(_norm(torch.cat(parts, 1), "bn2", weights, norms))
    if block.se:
        gate = y.mean((2, 3), keepdim=True)
        gate = act(F.conv2d(gate, weights["se.conv_reduce.weight"], weights["se.conv_reduce.bias"]))
        y = y * F.conv2d(gate, weights["se.conv_expand.weight"], weights["se.conv_expand.bias"]).sigmoid()
    y = _norm(_convolve_points(y, "conv_pwl", weights), "bn3", weights, norms)
    return x + y if x.shape == y.shape and block.stride == 1 and block.skip else y


def _convolve_points(x: torch.Tensor, name: str, weights: Weights) -> torch.Tensor:
    groups = [weight for key, weight in weights.items() if key.startswith(f"{name}.")]
    return F.conv2d(x, torch.cat(groups) if len(groups) > 1 else groups[0], groups=len(groups))


def _norm(x: torch.Tensor, name: str, weights: Weights, norms: Any) -> torch.Tensor:
    """BatchNorm without its activation: by the batch, or as the norm of that name of ``norms`` does it in its mode."""
    scale = weights[f"{name}.weight"], weights[f"{name}.bias"]
    if norms is None:
        return F.batch_norm(x, None, None, *scale, True)
    norm = getattr(norms, name)
    return F.batch_norm(x, norm.running_mean, norm.running_var, *scale, norm.training, norm.momentum, norm.eps)
