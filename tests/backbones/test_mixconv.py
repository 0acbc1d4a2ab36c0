import copy

import pytest
import torch
import torch.nn.functional as F
from timm.layers import pad_same
from timm.layers.mixed_conv2d import MixedConv2d

from mixtransfer.backbones import MixConv2d
from mixtransfer.backbones.mixconv import split_channels

KERNELS = ([3, 5], [3, 5, 7, 9], [7, 3, 11], [5])


@pytest.mark.parametrize(
    ("channels", "groups", "partition", "expected"),
    [
        (32, 4, "equal", [8, 8, 8, 8]),  # both from section 3.2
        (32, 4, "exponential", [16, 8, 4, 4]),
        (23, 4, "equal", [8, 5, 5, 5]),
        (21, 3, "exponential", [11, 5, 5]),
        (32, 6, "exponential", [16, 8, 4, 2, 1, 1]),
        (7, 1, "equal", [7]),
        (7, 1, "exponential", [7]),
        (3, 2, "exponential", [2, 1]),
    ],
)
def test_channels_are_split_as_in_the_paper(channels, groups, partition, expected):
    assert split_channels(channels, groups, partition) == expected


@pytest.mark.parametrize(("channels", "groups", "partition"), [(3, 4, "equal"), (16, 6, "exponential")])
def test_too_few_channels_for_the_groups(channels, groups, partition):
    with pytest.raises(ValueError, match=f"{channels} channels are too few for {groups} {partition} MixConv groups"):
        MixConv2d(channels, [3, 5, 7, 9, 11, 13][:groups], partition=partition)


@pytest.mark.parametrize(
    "arguments", [{"kernel_sizes": [3, 4]}, {"kernel_sizes": []}, {"kernel_sizes": [3], "partition": "half"}]
)
def test_bad_arguments(arguments):
    with pytest.raises(ValueError):
        MixConv2d(8, **arguments)


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("size", [(17, 17), (16, 16), (13, 18)])
@pytest.mark.parametrize("padding", ["", "same"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernels", KERNELS)
def test_equal_groups_compute_what_timm_computes(kernels, stride, padding, size, merged):
    """Outputs and the gradients of input and weights, with timm's own parameters loaded."""
    torch.manual_seed(0)
    theirs = MixedConv2d(23, 23, kernels, stride=stride, padding=padding, depthwise=True).double()
    ours = MixConv2d(23, kernels, stride=stride, padding=padding, merged=merged).double()
    ours.load_state_dict(theirs.state_dict())
    assert ours.mergeable
    assert_same(ours, theirs, torch.randn(2, 23, *size, dtype=torch.double))


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("size", [15, 16])
@pytest.mark.parametrize("padding", ["", "same"])
@pytest.mark.parametrize("stride", [1, 2])
def test_exponential_groups_compute_convolutions_of_their_own(stride, padding, size, merged):
    torch.manual_seed(0)
    ours = MixConv2d(
        21, [3, 5, 7], stride=stride, partition="exponential", padding=padding, bias=True, merged=merged
    ).double()
    for conv in ours:
        torch.nn.init.normal_(conv.bias)
    assert [conv.weight.shape for conv in ours] == [(11, 1, 3, 3), (5, 1, 5, 5), (5, 1, 7, 7)]
    x = torch.randn(2, 21, size, size, dtype=torch.double)
    expected = []
    for conv, part in zip(ours, x.split([11, 5, 5], dim=1), strict=True):
        k = conv.kernel_size[0]
        part = pad_same(part, (k, k), (stride, stride)) if padding == "same" else F.pad(part, [k // 2] * 4)
        expected.append(F.conv2d(part, conv.weight, conv.bias, stride, groups=part.shape[1]))
    torch.testing.assert_close(ours(x), torch.cat(expected, dim=1))


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("size", [5, 6, 7, 8, 9])
@pytest.mark.parametrize("stride", [2, 3, 4])
def test_kernels_smaller_than_the_stride(stride, size, merged):
    """TensorFlow's padding of such a kernel depends on the input size, so it may not be merged."""
    torch.manual_seed(0)
    theirs = MixedConv2d(8, 8, [1, 3], stride=stride, padding="same", depthwise=True).double()
    ours = MixConv2d(8, [1, 3], stride=stride, padding="same", merged=merged).double()
    ours.load_state_dict(theirs.state_dict())
    assert not ours.mergeable
    assert_same(ours, theirs, torch.randn(1, 8, size, size, dtype=torch.double))


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("padding", ["", "same"])
def test_dilated_groups_are_spread_3x3_kernels(padding, merged):
    torch.manual_seed(0)
    ours = MixConv2d(12, [3, 5, 9], dilated=True, padding=padding, merged=merged)
    assert {conv.weight.shape for conv in ours} == {(4, 1, 3, 3)}
    x = torch.randn(2, 12, 14, 15)
    expected = [
        F.conv2d(part, conv.weight, padding=d, dilation=d, groups=4)
        for conv, part, d in zip(ours, x.split(4, dim=1), (1, 2, 4), strict=True)
    ]
    torch.testing.assert_close(ours(x), torch.cat(expected, dim=1))


def test_dilation_is_for_stride_1_only():
    layer = MixConv2d(12, [3, 5, 9], stride=2, dilated=True)
    assert [conv.kernel_size[0] for conv in layer] == [3, 5, 9]
    assert [conv.dilation for conv in layer] == [(1, 1)] * 3
    assert not layer.dilated


def test_initial_weights_have_timms_variance():
    torch.manual_seed(0)
    layer = MixConv2d(8000, [3, 7], bias=True)
    for conv, k in zip(layer, (3, 7), strict=True):
        assert conv.weight.var().item() == pytest.approx(2 / k**2, rel=0.03)
        assert not conv.bias.any()


def test_half_precision_and_channels_last():
    layer = MixConv2d(12, [3, 5, 7], merged=True).to(torch.bfloat16)
    x = torch.randn(2, 12, 9, 9).to(torch.bfloat16)
    out = layer(x.to(memory_format=torch.channels_last))
    assert out.dtype == torch.bfloat16
    split = copy.deepcopy(layer)
    split.merged = False
    torch.testing.assert_close(out.contiguous(), split(x), rtol=2e-2, atol=2e-2)


def assert_same(ours, theirs, x):
    x1, x2 = x.clone().requires_grad_(), x.clone().requires_grad_()
    out1, out2 = ours(x1), theirs(x2)
    torch.testing.assert_close(out1, out2)
    weighting = torch.randn_like(out1)
    out1.backward(weighting)
    out2.backward(weighting)
    torch.testing.assert_close(x1.grad, x2.grad)
    gradients = [parameter.grad for parameter in theirs.parameters()]
    for ours_parameter, gradient in zip(ours.parameters(), gradients, strict=True):
        torch.testing.assert_close(ours_parameter.grad, gradient)


def test_groups_are_computed_one_by_one_unless_asked():
    assert not MixConv2d(8, (3, 5)).merged
