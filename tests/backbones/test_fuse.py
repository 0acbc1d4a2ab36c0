"""A fused network against the one it was made from."""

import pytest
import torch
from enlivening import enliven
from timm.layers.mixed_conv2d import MixedConv2d
from torch import nn

from mixtransfer.backbones import MixConv2d, create_backbone, list_backbones
from mixtransfer.backbones.folding import fold_batch_norm
from mixtransfer.backbones.fuse import for_inference, fuse
from mixtransfer.backbones.quicker import make_quicker


def largest_difference(model: nn.Module, fused: nn.Module, size: int) -> float:
    """Relative to the largest output."""
    images = torch.randn(1, 3, size, size)
    with torch.inference_mode():
        expected, found = model(images), fused(images)
    return float((expected - found).abs().max() / expected.abs().max())


def test_a_network_made_for_training_is_fused_alike():
    images = torch.randn(2, 3, 64, 64)
    model = enliven(create_backbone("mixnet_s", weights="none", num_classes=7))
    with torch.inference_mode():
        expected = model(images)
        fold_batch_norm(make_quicker(model))
        fused = for_inference(model, "cpu")
        assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
        torch.testing.assert_close(fused(images), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-5)


def test_every_registered_network_computes_the_same():
    """Strides of 2 at odd and at even sizes, TensorFlow's padding, both ways to write each MixConv."""
    for spec in list_backbones():
        model = enliven(create_backbone(spec.name, weights="none", num_classes=7))
        for merge, pointwise, size in ((True, "grouped", 33), (False, "dense", 64)):
            fused = fuse(model, merge, pointwise)
            kinds = [type(module) for module in fused.modules()]
            assert not any(issubclass(kind, nn.BatchNorm2d) for kind in kinds), spec.name
            assert (MixConv2d in kinds) == (not merge and "mix" in spec.name), spec.name
            assert not any(kind is MixedConv2d for kind in kinds), spec.name
            assert largest_difference(model, fused, size) < 1e-5, (spec.name, merge)


def pointwise(*convs: nn.Conv2d) -> nn.Sequential:
    """A network of one layer: timm's, with other convolutions in it."""
    layer = MixedConv2d(8, 8, [1] * len(convs))
    for name, conv in zip(layer, convs, strict=True):
        layer[name] = conv
    return nn.Sequential(layer).eval()


@pytest.mark.parametrize("kind", ["split", "grouped", "dense"])
@pytest.mark.parametrize(
    ("settings", "becomes_one"),
    [
        ([{}, {}], True),
        ([{"stride": 2}, {"stride": 2}], True),
        ([{}, {"groups": 2}], False),
        ([{"groups": 2}, {"groups": 2}], False),
        ([{"padding": 1}, {"padding": 1}], False),
    ],
)
def test_groups_of_1x1_convolutions_become_one_where_that_is_the_same(kind, settings, becomes_one):
    model = pointwise(*(nn.Conv2d(4, 4, 1, bias=bool(i), **its) for i, its in enumerate(settings)))
    for conv in model[0].values():  # one bias, or none
        conv.bias = nn.Parameter(torch.randn(4))
    fused = fuse(model, pointwise=kind)
    assert (type(fused[0]) is nn.Conv2d) == (becomes_one and kind != "split")
    if type(fused[0]) is nn.Conv2d:
        assert fused[0].groups == (2 if kind == "grouped" else 1)
    torch.testing.assert_close(fused(torch.ones(1, 8, 6, 6)), model(torch.ones(1, 8, 6, 6)))


def test_groups_of_another_stride_stay():
    model = pointwise(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1, stride=2))
    assert isinstance(fuse(model)[0], MixedConv2d)
    model = pointwise(nn.Conv2d(4, 4, 1, stride=2), nn.Conv2d(4, 4, 1))
    assert isinstance(fuse(model)[0], MixedConv2d)


def test_by_default_mixconv_is_merged_and_nothing_is_trained():
    model = create_backbone("mixnet_s", weights="none", num_classes=7)
    fused = fuse(model)
    assert not any(isinstance(module, MixConv2d) for module in fused.modules())
    assert not any(parameter.requires_grad for parameter in fused.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
