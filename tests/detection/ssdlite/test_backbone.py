import copy
import json

import detecting  # noqa: F401  skips without detectron2
import pytest
import torch
from safetensors.torch import save_file

from mixtransfer.backbones import create_backbone
from mixtransfer.detection.ssdlite.backbone import SSDLiteBackbone
from mixtransfer.errors import UserError

# Channels at strides 16 (expanded if there is an expansion) and 32, by the papers' and timm's tables.
NETWORKS = {
    "mixnet_s": (720, 200),
    "mixnet_m": (720, 200),
    "mixnet_l": (960, 264),
    "tf_mixnet_m": (720, 200),
    "mobilenetv1_100": (512, 1024),
    "mobilenetv1_100.mixconv357": (512, 1024),
    "mobilenetv2_100": (576, 320),
    "mobilenetv2_100.mixconv357": (576, 320),
    "mobilenetv3_large_100": (672, 960),
    "mobilenetv3_large_100.reduced": (672, 480),
    "mobilenetv3_small_100": (288, 576),
    "efficientnet_b0": (672, 320),
    "efficientnet_lite0": (672, 320),
    "resnet50": (1024, 2048),
    "convnext_atto": (160, 320),  # not in the registry
}


@pytest.mark.parametrize("name", NETWORKS)
def test_six_maps(name):
    with torch.device("meta"):
        backbone = SSDLiteBackbone(name, weights="none")
        maps = backbone(torch.empty(1, 3, 320, 320))
    shapes = backbone.output_shape()
    assert list(maps) == list(shapes)
    assert [tuple(x.shape[-2:]) for x in maps.values()] == [(s, s) for s in (20, 10, 5, 3, 2, 1)]
    assert [x.shape[1] for x in maps.values()] == [shape.channels for shape in shapes.values()]
    assert [x.shape[1] for x in maps.values()] == [*NETWORKS[name], 512, 256, 256, 128]


@pytest.mark.parametrize("name", ["mixnet_s", "mobilenetv2_100", "tf_efficientnet_lite0"])
def test_the_taps(name):
    torch.manual_seed(0)
    stage = SSDLiteBackbone(name, weights="none", tap="stage").eval()
    expanded = SSDLiteBackbone(name, weights="none").eval()
    expanded.load_state_dict(stage.state_dict())
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        coarse, fine = stage(x), expanded(x)
        reference = stage.body(x)[3]
        following = stage.body.blocks[5][0]  # of stride 2, in all three
        expected = following.bn1(following.conv_pw(reference))
    assert torch.equal(coarse["stride16"], reference)
    torch.testing.assert_close(fine["stride16"], expected)
    assert torch.equal(fine["stride32"], coarse["stride32"])


def test_a_copy_keeps_its_own_maps():
    torch.manual_seed(0)
    original = SSDLiteBackbone("mobilenetv3_small_100", weights="none").eval()
    twin = copy.deepcopy(original)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.mul_(1.5)
        x = torch.randn(1, 3, 64, 64)
        assert not torch.equal(twin(x)["stride16"], original(x)["stride16"])
        first = original(x)["stride16"]
        twin(x)
        assert torch.equal(original(x)["stride16"], first)


def test_a_classifiers_weights(tmp_path):
    classifier = create_backbone("mixnet_s", weights="none", num_classes=5)
    save_file(classifier.state_dict(), tmp_path / "model.safetensors")
    backbone = SSDLiteBackbone("mixnet_s", weights=str(tmp_path / "model.safetensors"))
    state = classifier.state_dict()
    for name, tensor in backbone.body.state_dict().items():
        assert torch.equal(tensor, state[name])


def test_every_parameter_learns():
    torch.manual_seed(0)
    backbone = SSDLiteBackbone("mixnet_s", weights="none")
    maps = backbone(torch.randn(2, 3, 64, 64))
    sum(x.square().sum() for x in maps.values()).backward()
    assert not [name for name, parameter in backbone.named_parameters() if parameter.grad is None]


@pytest.mark.parametrize("level", [0, 1, 2, 4])
@pytest.mark.parametrize("name", ["mixnet_s", "mobilenetv3_small_050", "resnet18", "convnext_atto"])
def test_frozen_are_the_layers_that_make_the_map(name, level):
    """Those without which the map would be another, as gradients tell."""
    backbone = SSDLiteBackbone(name, "none").eval()
    backbone.freeze(level)
    frozen = {name for name, parameter in backbone.body.named_parameters() if not parameter.requires_grad}
    backbone.body.requires_grad_(True)
    strides = backbone.body.feature_info.reduction()
    making = set()
    if level and 2**level in strides:
        backbone.body(torch.rand(1, 3, 64, 64))[strides.index(2**level)].sum().backward()
        making = {name for name, parameter in backbone.body.named_parameters() if parameter.grad is not None}
    assert frozen == making


def test_pixel_statistics_are_the_networks():
    backbone = SSDLiteBackbone("tf_mixnet_s", weights="none")
    assert backbone.pixel_mean == pytest.approx([123.675, 116.28, 103.53])
    assert SSDLiteBackbone("efficientnet_lite0", weights="none").pixel_std == pytest.approx([127.5] * 3)


@pytest.mark.parametrize(
    ("name", "tap", "reason"),
    [
        ("vit_tiny_patch16_224", None, "has no map at stride 32"),
        ("swin_tiny_patch4_window7_224", None, "have their channels last"),
        ("resnet50", "expanded", "expands nothing at stride 16"),
        ("mixnet_s", "middle", "'middle' of the backbone is not one of expanded, stage"),
        ("mixnet_z", None, "There is no backbone 'mixnet_z'"),
    ],
)
def test_what_cannot_be_had(name, tap, reason):
    with torch.device("meta"), pytest.raises(UserError, match=reason):
        SSDLiteBackbone(name, "none", tap)


def test_a_backbone_file(tmp_path):
    path = tmp_path / "mine.json"
    blocks = [[f"ir_r1_k3.5_s2_e2_c{c}"] for c in (16, 24, 32, 40)]
    values = {"format": 1, "name": "mine", "stem": 8, "blocks": blocks, "head": 64, "image_size": 64}
    path.write_text(json.dumps(values))
    with torch.device("meta"):
        maps = SSDLiteBackbone(str(path), weights="none")(torch.empty(1, 3, 320, 320))
    assert [x.shape[1] for x in maps.values()][:2] == [64, 40]
    path.write_text(json.dumps({**values, "blocks": blocks[:3]}))
    with pytest.raises(UserError, match="The backbone mine has no map at stride 32"):
        SSDLiteBackbone(str(path), weights="none")


def test_what_cannot_be_frozen_is_said(monkeypatch):
    """convnext begins at stride 4."""
    from mixtransfer.detection import beginning
    from mixtransfer.detection.options import TrainOptions

    said = []
    monkeypatch.setattr(beginning, "tell", said.append)
    model = torch.nn.Module()
    model.backbone = SSDLiteBackbone("convnext_atto", "none")
    beginning.make_trainable(model, TrainOptions(backbone="convnext_atto", freeze_at=1))
    assert said == ["Nothing is frozen: convnext_atto has no map up to stride 2 (--freeze-at)."]
    beginning.make_trainable(model, TrainOptions(backbone="convnext_atto", freeze_at=2))
    assert len(said) == 1 and not all(parameter.requires_grad for parameter in model.parameters())
