import pytest
import torch

from mixtransfer.backbones import architecture_spec, create_backbone
from mixtransfer.backbones.describe import describe_network
from mixtransfer.errors import UserError


@pytest.mark.parametrize("name", ["mixnet_s", "mixnet_m", "mixnet_l", "mixnet_xl"])
def test_a_network_built_of_its_description_is_the_same(name):
    torch.manual_seed(0)
    network = create_backbone(name, "none", 7).eval()
    described = describe_network(network, name)
    again = create_backbone(architecture_spec(described), "none", 7).eval()
    again.load_state_dict(network.state_dict())
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(again(images), network(images))
    assert describe_network(again, name) == described


@pytest.mark.parametrize("name", ["tf_mixnet_s", "efficientnet_b0", "mobilenetv2_100", "resnet18"])
def test_other_networks_are_refused(name):
    with torch.device("meta"):
        network = create_backbone(name, "none", 7)
    with pytest.raises(UserError, match=f"{name} .*: take mixnet_s"):
        describe_network(network, name)
