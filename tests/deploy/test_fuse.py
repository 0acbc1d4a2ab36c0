"""A fused network against the one it was made from."""

import torch
from timm.layers.mixed_conv2d import MixedConv2d
from torch import nn

from mixtransfer.backbones import MixConv2d, create_backbone, list_backbones
from mixtransfer.deploy.fuse import fuse


@torch.no_grad()
def enliven(model: nn.Module) -> nn.Module:
    """Batch norms with statistics and scales of their own, so that a mistake would show."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.1)
    return model.eval()


def largest_difference(model: nn.Module, fused: nn.Module, size: int) -> float:
    """Relative to the largest output."""
    images = torch.randn(1, 3, size, size)
    with torch.inference_mode():
        expected, found = model(images), fused(images)
    return float((expected - found).abs().max() / expected.abs().max())


def test_every_registered_network_computes_the_same():
    """Strides of 2 at odd and at even sizes, TensorFlow's padding, both ways to write each MixConv."""
    torch.manual_seed(0)
    for spec in list_backbones():
        model = enliven(create_backbone(spec.name, weights="none", num_classes=7))
        for merge, pointwise, size in ((True, "grouped", 33), (False, "dense", 64)):
            fused = fuse(model, merge, pointwise)
            kinds = [type(module) for module in fused.modules()]
            assert not any(issubclass(kind, nn.BatchNorm2d) for kind in kinds), spec.name
            assert (MixConv2d in kinds) == (not merge and "mix" in spec.name), spec.name
            assert not any(kind is MixedConv2d for kind in kinds), spec.name
            assert largest_difference(model, fused, size) < 1e-5, (spec.name, merge)
