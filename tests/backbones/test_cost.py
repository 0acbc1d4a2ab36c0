import pytest
import torch
import torchvision
from torch import nn

from mixtransfer.backbones import MixConv2d, backbone_spec, count_macs, count_parameters, create_backbone

# Measured once and held: parameters, multiply-adds at 224 px.
COSTS = {
    "mixnet_s": (4_134_606, 239_173_360),
    "mixnet_m": (5_014_382, 339_172_672),
    "mixnet_l": (7_329_252, 555_251_792),
    "mixnet_xl": (11_896_768, 904_010_880),
    "resnet50": (25_557_032, 4_089_184_256),
    "mobilenetv1_100": (4_231_976, 568_740_352),
    "mobilenetv2_100": (3_504_872, 300_774_272),
    "mobilenetv3_large_100": (5_483_032, 216_589_760),
    "mobilenetv3_small_100": (2_542_856, 56_510_400),
    "efficientnet_b0": (5_288_548, 385_814_752),
    "efficientnet_lite0": (4_652_008, 385_187_552),
}


@pytest.fixture(scope="module")
def networks():
    with torch.device("meta"):
        return {name: create_backbone(name, weights="none") for name in COSTS}


def test_the_cost_of_the_registry(networks):
    assert {name: (count_parameters(m), count_macs(m)) for name, m in networks.items()} == COSTS


def test_the_reduced_tail_is_torchvisions():
    with torch.device("meta"):
        ours = create_backbone("mobilenetv3_large_100.reduced", weights="none")
        theirs = torchvision.models.mobilenet_v3_large(weights=None, reduced_tail=True)
    assert (count_parameters(ours), count_macs(ours)) == (2_569_352, 182_302_720)
    assert (count_parameters(theirs), count_macs(theirs)) == (2_569_352, 182_302_720)
    assert {norm.eps for norm in ours.modules() if isinstance(norm, nn.BatchNorm2d)} == {1e-3}


@pytest.mark.parametrize("name", ["mixnet_s", "mixnet_m", "mixnet_l"])
def test_tensorflows_padding_costs_the_same(name):
    with torch.device("meta"):
        model = create_backbone(f"tf_{name}", weights="none")
    assert (count_parameters(model), count_macs(model)) == COSTS[name]


def test_parameters_are_those_of_the_papers_table_2():
    """To the digits printed; the paper cuts MobileNetV2's 3.50 and V3's 5.48 rather than rounding them."""
    for name in ("mixnet_s", "mixnet_m", "mixnet_l", "mobilenetv1_100"):
        assert round(COSTS[name][0] / 1e6, 1) == backbone_spec(name).paper["params"] / 1e6
    for name in ("mobilenetv2_100", "mobilenetv3_large_100"):
        assert 0 <= COSTS[name][0] / 1e6 - backbone_spec(name).paper["params"] / 1e6 < 0.11


def test_multiply_adds_against_the_papers_table_2(networks):
    """The MobileNets agree; no one way of counting gives all three MixNets (see the note in the registry)."""
    assert COSTS["mobilenetv2_100"][1] == pytest.approx(backbone_spec("mobilenetv2_100").paper["macs"], rel=0.003)
    assert COSTS["mobilenetv3_large_100"][1] == pytest.approx(217e6, rel=0.002)

    excess = {name: backbone_spec(name).paper["macs"] - COSTS[name][1] for name in ("mixnet_s", "mixnet_m", "mixnet_l")}
    assert excess == {"mixnet_s": 16_826_640, "mixnet_m": 20_827_328, "mixnet_l": 9_748_208}
    small, middle, large = (_activity(networks[name]) for name in excess)
    assert all(small[kind] < middle[kind] < large[kind] for kind in small)
    assert excess["mixnet_l"] < excess["mixnet_m"] - 1e6  # more than rounding to a million can hide

    counted = {
        name: COSTS[name][1] + 2 * a["norm"] + a["swish"] + a["squeeze"]
        for name, a in zip(excess, (small, middle, large), strict=True)
    }
    assert {name: round(macs / 1e6, 1) for name, macs in counted.items()} == {
        "mixnet_s": 256.1,
        "mixnet_m": 360.9,
        "mixnet_l": 584.1,
    }
    for name, macs in counted.items():
        note = backbone_spec(name).note
        assert f"{COSTS[name][1] / 1e6:.1f}" in note
        assert f"{macs / 1e6:.1f}" in note


@pytest.mark.parametrize("name", COSTS)
def test_timms_published_multiply_adds_count_batchnorm_twice(networks, name):
    macs = COSTS[name][1] + 2 * _activity(networks[name])["norm"]
    assert round(macs / 1e7) * 1e7 == backbone_spec(name).published["macs"]


def test_timms_published_parameters():
    for name, (parameters, _) in COSTS.items():
        assert round(parameters / 1e4) * 1e4 == backbone_spec(name).published["params"]


def test_counting_leaves_the_model_as_it_was():
    model = create_backbone("mixnet_s", weights="none", num_classes=4, merged=True).train()
    model.conv_stem.requires_grad_(False)
    model.blocks[0].eval()
    modes = [module.training for module in model.modules()]
    state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    macs = count_macs(model, (3, 64, 64))
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items())
    assert not model.conv_stem.weight.requires_grad
    layers = [module for module in model.modules() if isinstance(module, MixConv2d)]
    assert all(layer.merged for layer in layers)
    for layer in layers:
        layer.merged = False
    assert count_macs(model, (3, 64, 64)) == macs


@pytest.mark.parametrize("merged", [False, True])
def test_a_mixconv_costs_its_own_kernels(merged):
    model = nn.Sequential(MixConv2d(12, [3, 5, 7], stride=2, merged=merged))
    assert count_macs(model, (12, 20, 20)) == 10 * 10 * 4 * (9 + 25 + 49)
    assert count_parameters(model) == 4 * (9 + 25 + 49)


def test_linear_layers_count():
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 10))
    assert count_macs(model, (3, 4, 4)) == 480
    assert count_parameters(model) == 490


def _activity(model):
    """Elements that BatchNorm, swish and the squeeze-excite product handle for one image of 224 px."""
    elements = {"norm": 0, "swish": 0, "squeeze": 0}
    kinds = {"SqueezeExcite": "squeeze", "SiLU": "swish"}

    def count(module, _, output):
        kind = "norm" if isinstance(module, nn.BatchNorm2d) else kinds[type(module).__name__]
        elements[kind] += output.numel()

    handles = [
        module.register_forward_hook(count)
        for module in model.modules()
        if isinstance(module, nn.BatchNorm2d) or type(module).__name__ in kinds
    ]
    with torch.no_grad():
        model.eval()(torch.empty(1, 3, 224, 224, device="meta"))
    for handle in handles:
        handle.remove()
    return elements
