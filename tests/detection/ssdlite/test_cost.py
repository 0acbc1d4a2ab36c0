import pytest
import torch
from detecting import TorchvisionBackbone, torchvision_ssdlite

from mixtransfer.detection.ssdlite.backbone import SSDLiteBackbone, _extra_level
from mixtransfer.detection.ssdlite.cost import detector_cost, network_cost
from mixtransfer.detection.ssdlite.head import _predictor
from mixtransfer.detection.ssdlite.layers import conv_norm_relu6
from mixtransfer.detection.ssdlite.model import build_ssdlite
from mixtransfer.detection.table_1 import TABLE_1


def test_torchvisions_published_cost():
    """3,440,060 parameters and 0.583 GFLOPs, by the metadata of its weights, which count the background as a class."""
    theirs = torchvision_ssdlite()
    backbone = TorchvisionBackbone(theirs.backbone, [672, 480, 512, 256, 256, 128])
    cost = network_cost(build_ssdlite(backbone, num_classes=90))
    assert cost == network_cost(theirs)
    assert cost["params"] == 3_440_060
    assert cost["macs"] / 1e9 == pytest.approx(0.583, abs=5e-4)


def test_the_expanded_tap_costs_more():
    expanded, stage = detector_cost("mixnet_s"), detector_cost("mixnet_s", "stage")
    assert expanded["params"] > stage["params"]
    assert expanded["macs"] > stage["macs"]
    assert detector_cost("mobilenetv1_100") == detector_cost("mobilenetv1_100", "stage")
    assert detector_cost("mixnet_s", image_size=160)["macs"] < expanded["macs"] / 3


@pytest.mark.parametrize("name", TABLE_1)
def test_table_1_by_the_detector_that_its_note_describes(name):
    with torch.device("meta"):
        detector = build_ssdlite(SSDLiteBackbone(name, "none"), 80)
        head = detector.head
        finest = detector.backbone.output_shape()["stride16"].channels
        head.classes[0], head.boxes[0] = _predictor(finest, 3 * 81), _predictor(finest, 3 * 4)
        if name.startswith("mobilenetv2"):
            last = detector.backbone.body.blocks[-1]
            last.append(conv_norm_relu6(320, 1280))
            head.classes[1], head.boxes[1] = _predictor(1280, 6 * 81), _predictor(1280, 6 * 4)
            detector.backbone.extra[0] = _extra_level(1280, 512)
    cost = network_cost(detector)
    assert cost["params"] == pytest.approx(TABLE_1[name]["params"], abs=0.03e6)
    assert cost["macs"] == pytest.approx(TABLE_1[name]["macs"], abs=0.01e9)
