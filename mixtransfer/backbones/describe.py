"""From a network of timm's ``EfficientNet`` class back to the block strings that it is built of."""

from dataclasses import replace
from typing import Any

import torch
from timm.models._efficientnet_blocks import DepthwiseSeparableConv, InvertedResidual
from timm.models.efficientnet import EfficientNet
from torch import nn

from mixtransfer.backbones.architecture import Architecture, Block
from mixtransfer.backbones.create import create_backbone
from mixtransfer.backbones.registry import BackboneSpec, architecture_spec, backbone_spec
from mixtransfer.errors import UserError

_ACTIVATIONS = {nn.ReLU: "re", nn.ReLU6: "r6", nn.SiLU: "sw", nn.Hardswish: "hs", nn.Mish: "mi"}


def describe_network(model: nn.Module, name: str, image_size: int = 224) -> Architecture:
    """The architecture of a network, which ``create_backbone`` builds alike, with the same names of its parameters.

    Raises:
        UserError: It is of another class or has other blocks, such as TensorFlow's padding.
    """
    network: Any = model
    spec = getattr(model, "spec", None)
    if spec is not None and spec.architecture:
        return replace(spec.architecture, name=name, image_size=image_size)
    if not isinstance(model, EfficientNet):
        raise UserError(f"{name} is not built of a MixNet's blocks: take mixnet_s, mixnet_m, mixnet_l or mixnet_xl.")
    stages, channels = [], network.conv_stem.out_channels
    for stage in network.blocks:
        texts = []
        for block in stage:
            described = _describe(block, channels, name)
            texts.append(str(described))
            channels = described.channels
        stages.append(tuple(texts))
    architecture = Architecture(
        name, network.conv_stem.out_channels, tuple(stages), network.conv_head.out_channels, image_size
    )
    _check_same(network, architecture)
    return architecture


def describe_backbone(name: str | BackboneSpec) -> Architecture:
    """The architecture of a backbone by its name, without memory for it.

    Raises:
        UserError: It has other blocks than a MixNet.
    """
    spec = backbone_spec(name)
    with torch.device("meta"):
        return describe_network(create_backbone(spec, "none"), spec.name)


def _describe(block: Any, inputs: int, name: str) -> Block:
    kinds = {DepthwiseSeparableConv: "ds", InvertedResidual: "ir"}
    if type(block) not in kinds or type(block.bn1.act) not in _ACTIVATIONS:
        raise UserError(f"{name} has blocks that are not a MixNet's ({type(block).__name__}): take another network.")
    kind = kinds[type(block)]
    expand, project = (block.conv_pw, block.conv_pwl) if kind == "ir" else (None, block.conv_pw)
    reduce = getattr(block.se, "conv_reduce", None)
    outputs = sum(conv.out_channels for conv in _convolutions(project))
    stride = _convolutions(block.conv_dw)[0].stride[0]
    return Block(
        kind,
        tuple(conv.kernel_size[0] for conv in _convolutions(block.conv_dw)),
        stride,
        outputs,
        block.conv_dw.in_channels / inputs if expand is not None else 1.0,
        reduce.out_channels / inputs if reduce is not None else 0.0,
        _ACTIVATIONS[type(block.bn1.act)],
        skip=bool(block.has_skip) or stride > 1 or outputs != inputs,
        expand_kernels=(1,) * len(_convolutions(expand)) if expand is not None else (1,),
        project_kernels=(1,) * len(_convolutions(project)),
    )


def _convolutions(layer: Any) -> list[Any]:
    """A convolution, or those of its groups."""
    return (
        [layer] if isinstance(layer, nn.Conv2d) else [conv for conv in layer.modules() if isinstance(conv, nn.Conv2d)]
    )


def _check_same(network: nn.Module, architecture: Architecture) -> None:
    """See to it that the architecture says all of the network."""
    with torch.device("meta"):
        again = create_backbone(architecture_spec(architecture), "none", getattr(network, "num_classes", 1000))

    def layers(model: nn.Module) -> list[str]:
        # What extra_repr says is all that a convolution, a norm or an activation computes by.
        leaves = (module for module in model.modules() if not [*module.children()])
        return [f"{type(leaf).__name__}({leaf.extra_repr()})" for leaf in leaves if not isinstance(leaf, nn.Identity)]

    if layers(network) != layers(again):
        raise UserError(f"{architecture.name} has layers that are not a MixNet's: take mixnet_s, mixnet_m or mixnet_l.")
