import pytest
import timm
import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.mixed_conv2d import MixedConv2d
from torch import nn

from mixtransfer.backbones import MixConv2d, count_parameters, replace_depthwise, use_mixconv
from mixtransfer.backbones.replace import depthwise_layers

# Depthwise layers of each: V1 13, V2 17, V3-Large 15, EfficientNet-B0 16.
NETWORKS = {
    "mobilenetv1_100": 13,
    "mobilenetv2_100": 17,
    "mobilenetv3_large_100": 15,
    "efficientnet_b0": 16,
    "tf_mobilenetv3_large_100": 15,
    "tf_efficientnet_lite0": 16,
}


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("name", ["mixnet_s", "tf_mixnet_s"])
def test_swapping_timms_mixconv_changes_nothing(name, merged):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=5).eval()
    x = torch.randn(2, 3, 65, 64)
    with torch.inference_mode():
        before = model(x)
    state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    parameters = [id(parameter) for parameter in model.parameters()]
    assert use_mixconv(model, merged) is model
    with torch.inference_mode():
        torch.testing.assert_close(model(x), before, rtol=1e-4, atol=1e-5)
    assert list(model.state_dict()) == list(state)
    assert all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items())
    assert [id(parameter) for parameter in model.parameters()] == parameters
    layers = [layer for layer in model.modules() if isinstance(layer, MixConv2d)]
    assert len(layers) == 13
    assert all(layer.merged is merged and not layer.training for layer in layers)
    # What is left of timm's class are the grouped pointwise convolutions.
    rest = [layer for layer in model.modules() if isinstance(layer, MixedConv2d)]
    assert rest
    assert all(conv.kernel_size == (1, 1) for layer in rest for conv in layer.values())
    use_mixconv(model, not merged)
    assert all(layer.merged is not merged for layer in layers)


def test_layers_that_timm_dilated_stay_timms():
    with torch.device("meta"):
        model = timm.create_model("mixnet_s", features_only=True, output_stride=8)
    use_mixconv(model)
    left = [layer for layer in model.modules() if isinstance(layer, MixedConv2d) and layer["0"].kernel_size[0] > 1]
    assert left
    assert all(layer["0"].dilation != (1, 1) for layer in left)


@pytest.mark.parametrize("kernels", [[3, 5, 7], [7]])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_depthwise_layer_is_replaced(name, kernels):
    with torch.device("meta"):
        model = timm.create_model(name)
    before = count_parameters(model)
    old = depthwise_layers(model)
    assert len(old) == NETWORKS[name]
    assert replace_depthwise(model, kernels) is model
    new = depthwise_layers(model)
    assert list(new) == list(old)
    for key in new:
        assert isinstance(new[key], MixConv2d if len(kernels) > 1 else nn.Conv2d)
        convs = list(new[key]) if len(kernels) > 1 else [new[key]]
        assert [conv.kernel_size[0] for conv in convs] == kernels
        assert convs[0].stride == old[key].stride
        assert isinstance(convs[0], Conv2dSame) == isinstance(old[key], Conv2dSame)
    # Closed form: k² weights a channel, the first group taking what does not divide evenly.
    extra = 0
    for layer in old.values():
        c, g = layer.in_channels, len(kernels)
        shares = [c // g + (c % g if i == 0 else 0) for i in range(g)]
        extra += sum(share * k * k for share, k in zip(shares, kernels, strict=True))
        extra -= c * layer.kernel_size[0] ** 2
    assert count_parameters(model) == before + extra
    assert model(torch.empty(2, 3, 96, 96, device="meta")).shape == (2, 1000)


def test_a_tensorflow_network_keeps_its_padding():
    """With each new kernel a one at its centre, the layer picks the pixels that TensorFlow's "same" would."""
    model = timm.create_model("tf_efficientnet_lite0", num_classes=3)
    name = next(key for key, layer in depthwise_layers(model).items() if isinstance(layer, Conv2dSame))
    replace_depthwise(model, [5, 7], layers=[name])
    layer = model.get_submodule(name)
    for conv in layer:
        nn.init.dirac_(conv.weight, groups=conv.groups)
    x = torch.randn(1, layer.in_channels, 32, 32)
    # Padding of 3 in all for k = 5 at an even size: 1 before, so the centre of the first window is pixel 1.
    torch.testing.assert_close(layer(x), x[:, :, 1::2, 1::2])


def test_only_the_named_layers_are_replaced():
    model = timm.create_model("mobilenetv2_100", num_classes=3)
    names = list(depthwise_layers(model))
    kept = model.get_submodule(names[0])
    replace_depthwise(model, [3, 5], layers=names[1:2])
    assert model.get_submodule(names[0]) is kept
    assert [name for name, layer in model.named_modules() if isinstance(layer, MixConv2d)] == names[1:2]


def test_a_mixnet_can_go_back_to_one_kernel():
    with torch.device("meta"):
        model = replace_depthwise(timm.create_model("mixnet_s"), [3])
    assert not any(isinstance(layer, MixConv2d) for layer in model.modules())
    assert {layer.kernel_size for layer in depthwise_layers(model).values()} == {(3, 3)}


@pytest.mark.parametrize("kernels", [[3, 5], [5]])
def test_device_type_bias_and_mode_stay(kernels):
    model = nn.Sequential(nn.Conv2d(9, 9, 3, stride=2, padding=1, groups=9)).to(torch.float64).eval()
    bias = model[0].bias.detach().clone()
    new = replace_depthwise(model, kernels)[0]
    convs = list(new) if len(kernels) > 1 else [new]
    assert torch.equal(torch.cat([conv.bias for conv in convs]), bias)
    assert convs[0].weight.dtype == torch.float64
    assert not new.training
    assert new(torch.randn(1, 9, 8, 8, dtype=torch.float64)).shape == (1, 9, 4, 4)


def test_dilated_replacement():
    with torch.device("meta"):
        model = replace_depthwise(timm.create_model("mobilenetv2_100"), [3, 5, 7], dilated=True)
    layers = list(depthwise_layers(model).values())
    assert {layer.dilated for layer in layers if layer.stride == 1} == {True}
    assert {layer.dilated for layer in layers if layer.stride == 2} == {False}
    assert model(torch.empty(1, 3, 64, 64, device="meta")).shape == (1, 1000)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.Conv2d(8, 8, 3, padding=1), "no depthwise convolution"),
        (nn.Conv2d(8, 8, (1, 7), padding=(0, 3), groups=8), "no depthwise convolution"),
        (nn.Conv2d(2, 2, 3, padding=1, groups=2), "2 channels are too few for 3"),
        (nn.Conv2d(8, 8, 3, groups=8), "pads by"),
        (nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8), "dilated"),
    ],
)
def test_what_cannot_be_replaced_is_an_error_and_leaves_the_model_whole(layer, message):
    model = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), layer)
    if "no depthwise" in message:
        model = nn.Sequential(layer)
    before = list(model)
    with pytest.raises(ValueError, match=message):
        replace_depthwise(model, [3, 5, 7])
    assert list(model) == before


def test_an_unknown_layer_name_is_an_error():
    model = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8))
    with pytest.raises(ValueError, match="blocks.9 is not a depthwise layer of this network, which has 0"):
        replace_depthwise(model, [3, 5], layers=["blocks.9"])
