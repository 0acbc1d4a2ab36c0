"""mixnet_s.hswish."""

import pytest
import timm
import torch
from torch import nn

from mixtransfer.backbones import backbone_spec, create_backbone, list_backbones
from mixtransfer.classification.timm_config import timm_config
from mixtransfer.errors import UserError
from mixtransfer.runs.model_card import ModelCard


@pytest.fixture
def original(tmp_path):
    torch.manual_seed(0)
    network = timm.create_model("mixnet_s", num_classes=4)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    return network


def test_weights_of_the_original_fit(original, tmp_path):
    """Against timm's own network whose layers are changed by hand."""
    for name, layer in list(original.named_modules()):
        if isinstance(layer, nn.SiLU):
            original.set_submodule(name, nn.Hardswish())
    lighter = create_backbone("mixnet_s.hswish", str(tmp_path / "w.pth"), 4)
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(lighter.eval()(images), original.eval()(images))
    assert lighter.spec.name == "mixnet_s.hswish"


def test_maps_for_a_detector_have_it_too(original, tmp_path):
    body = create_backbone("mixnet_s.hswish", str(tmp_path / "w.pth"), features_only=True)
    assert nn.SiLU not in {type(layer) for layer in body.modules()} and len(body(torch.zeros(1, 3, 64, 64))) == 5


@pytest.mark.parametrize("name", ["mobilenetv2_100", "vit_tiny_patch16_224"])
def test_what_has_no_swish_is_refused(name):
    with pytest.raises(UserError, match=f"{name}.hswish cannot be had, choose another: it has no swish"):
        create_backbone(f"{name}.hswish", "none")


def test_they_are_listed_and_no_published_number_is_theirs():
    names = [spec.name for spec in list_backbones("mixnet")]
    assert {"mixnet_s.hswish", "mixnet_m.hswish", "mixnet_l.hswish"} <= {*names}
    spec = backbone_spec("mixnet_s.hswish")
    assert spec.published is None and spec.paper is None and spec.weights_tag == "ft_in1k"


def test_timm_is_not_told_that_it_is_the_original():
    card = ModelCard.of("classification", backbone_spec("mixnet_s.hswish"), ["a", "b"], {"size": 64})
    assert timm_config(card) is None
