"""Putting MixConv into networks: timm's own MixConv layers, and the depthwise layers of any network."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeGuard

import torch
from timm.layers import get_padding
from timm.layers.conv2d_same import Conv2dSame, Conv2dSameExport, create_conv2d_pad
from timm.layers.mixed_conv2d import MixedConv2d
from torch import nn

from mixtransfer.backbones.mixconv import MixConv2d, reset_depthwise


def use_mixconv(model: nn.Module, merged: bool = False) -> nn.Module:
    """Swap timm's depthwise ``MixedConv2d`` layers for ``MixConv2d``, in place, and return the model.

    The convolutions themselves move over: parameters, outputs and state-dict keys stay. Layers that are ``MixConv2d``
    already only change their ``merged``. timm's grouped pointwise layers, which use the same class, are left alone,
    and so are layers that timm dilated for an ``output_stride``.
    """
    for name, layer in list(model.named_modules()):
        if isinstance(layer, MixConv2d):
            layer.merged = merged
        elif isinstance(layer, MixedConv2d) and _is_mixconv(layer):
            model.set_submodule(name, _adopt(layer, merged))
    return model


def replace_depthwise(
    model: nn.Module,
    kernel_sizes: Sequence[int],
    partition: str = "equal",
    dilated: bool = False,
    layers: Iterable[str] | None = None,
    merged: bool = False,
) -> nn.Module:
    """Give depthwise convolutions other kernels, in place, and return the model (paper, sections 3.3 and 3.4).

    Every square depthwise convolution of 3×3 or more, MixConv layers included, becomes a ``MixConv2d``, or with a
    single kernel size an ordinary depthwise convolution. Stride, kind of padding and bias stay. The new kernels are
    drawn as timm draws them (normal with variance 2/k²): what the old ones had learnt is lost.

    Args:
        model: Any network; ``depthwise_layers`` lists what would be replaced.
        kernel_sizes: Odd sizes, one a group.
        partition, dilated, merged: See ``MixConv2d``.
        layers: Names of the layers to replace, all of them if None.

    Raises:
        ValueError: Nothing to replace, an unknown layer name, fewer channels than groups, or a layer whose padding or
            dilation the new kernels could not keep.

    Examples:
        >>> block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 16, 1))
        >>> replace_depthwise(block, [3, 5])[0].kernel_sizes
        (3, 5)
    """
    use_mixconv(model, merged)
    found = depthwise_layers(model)
    chosen = list(found if layers is None else layers)
    if unknown := [name for name in chosen if name not in found]:
        raise ValueError(
            f"{unknown[0]} is not a depthwise layer of this network, which has {', '.join(found) or 'none'}."
        )
    if not chosen:
        raise ValueError("This network has no depthwise convolution to replace.")
    # All are built before any is put in, so that an error leaves the network whole.
    new = {name: _like(found[name], name, kernel_sizes, partition, dilated, merged) for name in chosen}
    for name, layer in new.items():
        model.set_submodule(name, layer)
    return model


def depthwise_layers(model: nn.Module) -> dict[str, nn.Conv2d | MixConv2d]:
    """The depthwise layers of a model by name, in order; a MixConv counts as one layer.

    Examples:
        >>> list(depthwise_layers(nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8))))
        ['1']
    """
    found: dict[str, nn.Conv2d | MixConv2d] = {}
    for name, layer in model.named_modules():
        inside_mixconv = isinstance(found.get(name.rpartition(".")[0]), MixConv2d)
        if isinstance(layer, MixConv2d) or (_is_depthwise(layer) and not inside_mixconv):
            found[name] = layer
    return found


def _is_depthwise(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    if not isinstance(layer, nn.Conv2d) or not 1 < layer.groups == layer.in_channels == layer.out_channels:
        return False
    height, width = layer.kernel_size
    return height == width >= 3 and height % 2 == 1


def _is_mixconv(layer: MixedConv2d) -> bool:
    convs: list[Any] = list(layer.values())
    depthwise = all(conv.groups == conv.in_channels == conv.out_channels for conv in convs)
    return depthwise and max(conv.kernel_size[0] for conv in convs) > 1 and convs[0].dilation == (1, 1)


def _adopt(layer: MixedConv2d, merged: bool) -> MixConv2d:
    convs: list[Any] = list(layer.values())
    new = MixConv2d(
        layer.in_channels,
        [conv.kernel_size[0] for conv in convs],
        stride=convs[0].stride[0],
        padding=_padding(convs[0], "a MixConv group"),
        bias=convs[0].bias is not None,
        merged=merged,
        device="meta",
    )
    for i, conv in enumerate(convs):
        new[i] = conv
    return new.train(layer.training)


def _like(
    old: nn.Conv2d | MixConv2d, name: str, kernel_sizes: Sequence[int], partition: str, dilated: bool, merged: bool
) -> nn.Module:
    """A new layer in the place of ``old``, on its device, with its stride, padding and bias."""
    convs = list(old) if isinstance(old, MixConv2d) else [old]
    first = convs[0]
    if first.dilation != (1, 1) or first.stride[0] != first.stride[1]:
        raise ValueError(f"{name} is dilated or has unequal strides, which a replaced kernel cannot keep.")
    settings: dict[str, Any] = {
        "stride": first.stride[0],
        "padding": _padding(first, name),
        "bias": first.bias is not None,
        "device": first.weight.device,
        "dtype": first.weight.dtype,
    }
    channels = old.in_channels
    new: nn.Conv2d | MixConv2d
    if len(kernel_sizes) == 1 and not dilated:
        conv: nn.Conv2d = create_conv2d_pad(channels, channels, kernel_sizes[0], groups=channels, **settings)
        reset_depthwise(conv)
        new = conv
    else:
        new = MixConv2d(channels, kernel_sizes, partition=partition, dilated=dilated, merged=merged, **settings)
    if first.bias is not None:
        _copy_bias(convs, list(new) if isinstance(new, MixConv2d) else [new])
    return new.train(old.training)


def _padding(conv: nn.Conv2d, name: str) -> str:
    """timm's name for how a convolution pads: "same" or ""."""
    if isinstance(conv, Conv2dSame | Conv2dSameExport):
        return "same"
    if tuple(conv.padding) != (get_padding(conv.kernel_size[0], conv.stride[0]),) * 2:
        raise ValueError(f"{name} pads by {conv.padding}, which a kernel of another size cannot keep.")
    return ""


@torch.no_grad()
def _copy_bias(old: list[nn.Conv2d], new: list[nn.Conv2d]) -> None:
    bias = torch.cat([conv.bias for conv in old if conv.bias is not None])
    for conv, part in zip(new, bias.split([conv.out_channels for conv in new]), strict=True):
        assert conv.bias is not None
        conv.bias.copy_(part)
