"""mixnet_s.hswish and mixnet_s.lite."""

import pytest
import timm
import torch
from torch import nn

from mixtransfer.backbones import backbone_spec, create_backbone, list_backbones
from mixtransfer.classification.timm_config import timm_config
from mixtransfer.errors import UserError
from mixtransfer.model_card import ModelCard


def kinds(model):
    return {type(layer) for layer in model.modules()}


def original(tmp_path):
    torch.manual_seed(0)
    network = timm.create_model("mixnet_s", num_classes=4)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    return network


@pytest.mark.parametrize(("kind", "activation"), [("hswish", nn.Hardswish), ("lite", nn.ReLU)])
def test_weights_of_the_original_fit(tmp_path, kind, activation):
    """Against timm's own network whose layers are changed by hand."""
    network = original(tmp_path)
    for block in [block for stage in network.blocks for block in stage]:
        if kind == "lite":
            block.se = nn.Identity()
    for name, layer in list(network.named_modules()):
        if isinstance(layer, nn.SiLU):
            network.set_submodule(name, activation())
    lighter = create_backbone(f"mixnet_s.{kind}", str(tmp_path / "w.pth"), 4)
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(lighter.eval()(images), network.eval()(images))
    assert nn.SiLU not in kinds(lighter) and lighter.spec.name == f"mixnet_s.{kind}"


def test_maps_for_a_detector_are_lighter_too(tmp_path):
    original(tmp_path)
    body = create_backbone("mixnet_s.lite", str(tmp_path / "w.pth"), features_only=True)
    assert not {nn.SiLU, nn.Sigmoid} & kinds(body) and len(body(torch.zeros(1, 3, 64, 64))) == 5


def test_what_has_nothing_to_change_is_refused():
    with pytest.raises(UserError, match="mobilenetv2_100.hswish cannot be had.*neither swish nor squeeze-excite"):
        create_backbone("mobilenetv2_100.hswish", "none")


def test_they_are_listed_and_no_published_number_is_theirs():
    names = [spec.name for spec in list_backbones("mixnet")]
    assert {"mixnet_s.hswish", "mixnet_s.lite", "mixnet_l.lite"} <= {*names}
    spec = backbone_spec("mixnet_s.lite")
    assert spec.published is None and spec.paper is None and spec.weights_tag == "ft_in1k"


def test_timm_is_not_told_that_it_is_the_original():
    card = ModelCard.of("classification", backbone_spec("mixnet_s.lite"), ["a", "b"], {"size": 64})
    assert timm_config(card) is None
