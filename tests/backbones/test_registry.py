import subprocess
import sys

import pytest
import timm

from mixtransfer.backbones import backbone_spec, create, list_backbones  # noqa: F401  registers our own with timm
from mixtransfer.errors import UserError


def test_the_registry_can_be_read_without_torch():
    code = (
        "import sys; from mixtransfer.backbones import BackboneSpec, backbone_spec, list_backbones;"
        "list_backbones(); backbone_spec('mobilenetv2_100.mixconv357');"
        "assert not {'torch', 'timm'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_entry_is_a_timm_model_with_those_weights():
    names = [spec.name for spec in list_backbones()]
    assert len(names) == len(set(names)) == 39
    for spec in list_backbones():
        assert timm.is_model(spec.timm_name)
        assert spec.description
        assert hash(spec)
        if spec.name == "mobilenetv3_large_100.reduced":
            assert spec.weights_tag is spec.published is None
        elif spec.hard_swish:
            assert spec.published is None and spec.weights_tag == backbone_spec(spec.timm_name).weights_tag
        elif spec.kernel_sizes is None:
            assert timm.get_pretrained_cfg(f"{spec.timm_name}.{spec.weights_tag}", allow_unregistered=False).hf_hub_id
            # timm's own choice, but for the networks that are listed by another name
            assert timm.get_pretrained_cfg(spec.timm_name).tag == spec.weights_tag
            assert 0.6 < spec.published["top1"] < 0.9
            assert spec.published["params"] > 2e6
            assert spec.published["macs"] > 5e7
            assert spec.published["source"]
        else:
            assert spec.weights_tag is None
            assert spec.published is None


def test_families():
    mixnets = [spec.name for spec in list_backbones("mixnet")]
    assert mixnets == [
        "mixnet_s",
        "mixnet_m",
        "mixnet_l",
        "mixnet_xl",
        "tf_mixnet_s",
        "tf_mixnet_m",
        "tf_mixnet_l",
        "mixnet_s.hswish",
        "mixnet_m.hswish",
        "mixnet_l.hswish",
    ]
    assert len(list_backbones("mobilenetv2")) == 11
    with pytest.raises(UserError, match="no family 'mixnets'.* mixnet, resnet, mobilenetv1"):
        list_backbones("mixnets")


def test_the_papers_rows():
    paper = backbone_spec("mixnet_l").paper
    assert (paper["params"], paper["macs"], paper["top1"], paper["top5"]) == (7_300_000, 565_000_000, 0.789, 0.942)
    assert backbone_spec("tf_mixnet_l").paper == paper
    assert backbone_spec("resnet50").paper is None
    assert backbone_spec("mobilenetv2_100.depthwise9x9").paper["top1"] == 0.741
    assert backbone_spec("mobilenetv2_100.mixconv35").paper is None


def test_variants_of_any_network():
    spec = backbone_spec("mobilenetv3_large_100.mixconv35-exponential")
    assert (spec.kernel_sizes, spec.partition, spec.dilated) == ((3, 5), "exponential", False)
    assert (spec.family, spec.timm_name, spec.weights_tag) == ("mobilenetv3", "mobilenetv3_large_100", None)
    assert backbone_spec("mnasnet_100.depthwise5x5-dilated").dilated
    assert backbone_spec("mobilenetv1_100.mixconv35791113") in list_backbones("mobilenetv1")


def test_any_timm_model():
    spec = backbone_spec("convnext_tiny")
    assert (spec.family, spec.timm_name, spec.published) == ("convnext", "convnext_tiny", None)
    assert spec.weights_tag == timm.get_pretrained_cfg("convnext_tiny").tag
    spec = backbone_spec("resnet50.tv_in1k")
    assert (spec.name, spec.timm_name, spec.weights_tag) == ("resnet50.tv_in1k", "resnet50", "tv_in1k")
    assert backbone_spec("mixnet_xxl").weights_tag is None
    # In the registry this name means the network that the installable weights fit; the tag asks for timm's own.
    assert backbone_spec("efficientnet_lite0").timm_name == "tf_efficientnet_lite0"
    assert backbone_spec("efficientnet_lite0.ra_in1k").timm_name == "efficientnet_lite0"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mixnet_z", "There is no backbone 'mixnet_z': did you mean mixnet_s"),
        ("mobilnetv2_100", "did you mean mobilenetv2_100"),
        ("resnet50.tv", r"did you mean .*resnet50\.tv_in1k"),
        ("resnet50.", r"did you mean .*resnet50\."),
        ("mobilenetv2_100.mixconv246", "'mixconv246' is not one: write kernels as mixconv357"),
        ("qqqqqqqqqq", "`mixtransfer models` lists some"),
        ("", "no backbone ''"),
        ("local-dir:/tmp", "no backbone"),
    ],
)
def test_an_unknown_name_is_told_its_neighbours(name, message):
    with pytest.raises(UserError, match=message):
        backbone_spec(name)
