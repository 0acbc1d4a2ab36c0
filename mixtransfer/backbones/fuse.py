"""Fusion: a copy of a network for inference in which batch norms and MixConv groups are gone.

What remains computes the same up to rounding, in fewer and larger operations. Where a layer can be written in several
ways, which is fastest depends on the runtime: ``mixtransfer.deploy.runtimes`` has what was measured of others than
PyTorch's own.
"""

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from timm.layers import BatchNormAct2d
from timm.layers.conv2d_same import create_conv2d_pad
from timm.layers.mixed_conv2d import MixedConv2d
from torch import nn

from mixtransfer.backbones.folding import foldable_pairs, scale_and_shift, unfold_batch_norm
from mixtransfer.backbones.mixconv import MixConv2d

Network = TypeVar("Network", bound=nn.Module)


def fuse(model: Network, merge: bool | Callable[[MixConv2d], bool] = True, pointwise: str = "grouped") -> Network:
    """A copy of a network in evaluation mode, fused; the original stays as it is.

    Each batch norm goes into the convolution before it, into every group of a MixConv, and its activation stays.
    Networks of any kind are taken, an ``SSDLite`` and those of ``fold_batch_norm`` and ``make_quicker`` too; what
    cannot be fused is left as it is.

    Args:
        model: Its outputs stay the same up to rounding, for any input size.
        merge: Whether a depthwise MixConv becomes one convolution with zero-padded kernels.
        pointwise: What timm's 1×1 convolutions in groups become: "split" leaves them, "grouped" makes one grouped
            convolution, "dense" one ordinary one with zeros. Groups of unequal width stay split.
    """
    fused = copy.deepcopy(model).eval().requires_grad_(False)
    unfold_batch_norm(fused)
    modules = dict(fused.named_modules())
    for conv_name, norm_name in foldable_pairs(fused):
        norm = modules[norm_name]
        _scale_outputs(modules[conv_name], *scale_and_shift(norm))
        _replace(fused, norm_name, norm.act if isinstance(norm, BatchNormAct2d) else nn.Identity())
    for name, layer in list(fused.named_modules()):
        if isinstance(layer, MixConv2d) and layer.mergeable and (merge(layer) if callable(merge) else merge):
            _replace(fused, name, _one_depthwise(layer))
        elif isinstance(layer, MixedConv2d) and pointwise != "split" and _is_pointwise(layer):
            _replace(fused, name, _one_pointwise(layer, pointwise))
    return fused


def for_inference(model: Network, device: torch.device | str) -> Network:
    """A copy of a network on a device, fused as eager PyTorch is fastest with it; the original stays as it is.

    On the CPU MixConv is merged: MixNet-S on images of 224 pixels takes 0.63 of the time of ``fold_batch_norm``, and
    0.73 in batches of 16, where unmerged it takes 0.74 and 0.78 (2 cores with AVX-512, 2026-11-25).
    """
    device = torch.device(device)
    return fuse(model, merge=device.type == "cpu").to(device).to(memory_format=torch.channels_last)


def _replace(model: nn.Module, name: str, new: nn.Module) -> None:
    """Put a module in the place of another, hooks included: SSDLite takes a map by one."""
    old = model.get_submodule(name)
    new._forward_hooks.update(old._forward_hooks)
    model.set_submodule(name, new.eval())


def _scale_outputs(conv: nn.Module, scale: torch.Tensor, shift: torch.Tensor) -> None:
    """Have a convolution, or MixConv, give ``scale * conv(x) + shift``; both of shape (channels out,)."""
    if not isinstance(conv, nn.Conv2d):
        groups = list(conv.children())
        widths = [group.out_channels for group in groups]
        for group, *part in zip(groups, scale.split(widths), shift.split(widths), strict=True):
            _scale_outputs(group, *part)
        return
    bias = shift if conv.bias is None else torch.addcmul(shift, conv.bias, scale)
    conv.weight = nn.Parameter(conv.weight * scale.view(-1, 1, 1, 1), requires_grad=False)
    conv.bias = nn.Parameter(bias.clone(), requires_grad=False)


def _one_depthwise(layer: MixConv2d) -> nn.Conv2d:
    weight, bias = layer.merged_kernels()
    channels, size = layer.in_channels, weight.shape[-1]
    return _convolution(
        weight, bias, channels, channels, size, stride=layer.stride, padding=layer.padding, groups=channels
    )


def _is_pointwise(layer: MixedConv2d) -> bool:
    convs: list[Any] = list(layer.values())
    plain = all(conv.kernel_size == (1, 1) and conv.groups == 1 and conv.padding == (0, 0) for conv in convs)
    return plain and all(type(conv) is nn.Conv2d and conv.stride == convs[0].stride for conv in convs)


def _one_pointwise(layer: MixedConv2d, kind: str) -> nn.Module:
    convs: list[Any] = list(layer.values())
    bias = torch.cat([conv.bias for conv in convs]) if convs[0].bias is not None else None
    widths = {(conv.in_channels, conv.out_channels) for conv in convs}
    channels = layer.in_channels, layer.out_channels
    if kind == "grouped" and len(widths) > 1:
        return layer
    if kind == "grouped":
        weight, groups = torch.cat([conv.weight for conv in convs]), len(convs)
    else:
        weight, groups = torch.block_diag(*(conv.weight[:, :, 0, 0] for conv in convs))[:, :, None, None], 1
    return _convolution(weight, bias, *channels, 1, stride=convs[0].stride[0], groups=groups)


def _convolution(weight: torch.Tensor, bias: torch.Tensor | None, *sizes: int, **settings) -> nn.Conv2d:
    conv = create_conv2d_pad(*sizes, bias=bias is not None, device="meta", **{"padding": "", **settings})
    conv.weight = nn.Parameter(weight.detach().contiguous(), requires_grad=False)
    if bias is not None:
        conv.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return conv
