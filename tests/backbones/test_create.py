import pytest
import timm
import torch
from timm.layers.mixed_conv2d import MixedConv2d

from mixtransfer.backbones import MixConv2d, backbone_spec, create_backbone, list_backbones
from mixtransfer.errors import UserError


@pytest.mark.parametrize("name", [spec.name for spec in list_backbones()])
def test_every_backbone_builds(name):
    with torch.device("meta"):
        model = create_backbone(name, weights="none", num_classes=11)
        x = torch.empty(2, 3, 96, 96)
    assert model(x).shape == (2, 11)
    kernels = backbone_spec(name).kernel_sizes
    found = {layer.kernel_sizes for layer in model.modules() if isinstance(layer, MixConv2d)}
    if "mixnet" in name:
        assert len(found) > 2
        assert not any(
            conv.kernel_size != (1, 1)
            for layer in model.modules()
            if isinstance(layer, MixedConv2d)
            for conv in layer.values()
        )
    else:
        assert found == ({kernels} if kernels and len(kernels) > 1 else set())
    data = timm.data.resolve_model_data_config(model)
    assert data["input_size"] == (3, 224, 224)
    assert data["mean"] == timm.get_pretrained_cfg(backbone_spec(name).timm_name).mean


@pytest.mark.parametrize("name", ["mixnet_s", "tf_mixnet_m", "resnet50", "mobilenetv1_100.depthwise5x5"])
def test_features_come_at_five_strides(name):
    with torch.device("meta"):
        model = create_backbone(name, weights="none", features_only=True)
        maps = model(torch.empty(1, 3, 96, 96))
    assert [m.shape[2] for m in maps] == [48, 24, 12, 6, 3]
    assert [m.shape[1] for m in maps] == model.feature_info.channels()
    assert timm.data.resolve_model_data_config(model)["input_size"] == (3, 224, 224)


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "mixnet_s",
        "tf_mixnet_s",
        "mobilenetv2_100.mixconv357",
        "mobilenetv3_small_100.mixconv35-exponential",
        "tf_efficientnet_lite0.mixconv357-dilated",
    ],
)
def test_training_reaches_every_parameter(name, merged):
    torch.manual_seed(0)
    model = create_backbone(name, weights="none", num_classes=3, merged=merged)
    loss = torch.nn.functional.cross_entropy(model(torch.randn(4, 3, 48, 48)), torch.tensor([0, 1, 2, 0]))
    loss.backward()
    assert loss.isfinite()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
    layers = [layer for layer in model.modules() if isinstance(layer, MixConv2d)]
    assert layers
    assert all(layer.merged is merged for layer in layers)


def test_merged_and_split_networks_agree():
    torch.manual_seed(0)
    split = create_backbone("tf_mixnet_s", weights="none", num_classes=3).eval()
    merged = create_backbone("tf_mixnet_s", weights="none", num_classes=3, merged=True).eval()
    merged.load_state_dict(split.state_dict())
    x = torch.randn(2, 3, 65, 64)
    with torch.inference_mode():
        torch.testing.assert_close(merged(x), split(x), rtol=1e-4, atol=1e-5)


def test_arguments_reach_timm():
    model = create_backbone("mixnet_s", weights="none", num_classes=3, drop_rate=0.3)
    assert model.drop_rate == 0.3
    with torch.device("meta"):
        model = create_backbone("mixnet_s", weights="none", features_only=True, out_indices=(2, 4))
    assert model.feature_info.channels() == [40, 200]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("resnet50.mixconv35", "no depthwise convolution"),
        ("mobilenetv3_small_100.mixconv35791113-exponential", "16 channels are too few for 6 exponential"),
    ],
)
def test_a_variant_that_the_network_does_not_admit(name, reason):
    with pytest.raises(UserError, match=f"The variant {name} cannot be had, choose another: .*{reason}"):
        create_backbone(name, weights="none")


def test_an_unknown_backbone():
    with pytest.raises(UserError, match="There is no backbone 'mixnet_z'"):
        create_backbone("mixnet_z", weights="none")
    with pytest.raises(UserError, match="weights is None: take 'imagenet', 'none'"):
        create_backbone("mixnet_s", weights=None)
