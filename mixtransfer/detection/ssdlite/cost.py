"""What a detector costs, beside Table 1 of the MixConv paper."""

import torch
from torch import nn

from mixtransfer.backbones import count_macs, count_parameters
from mixtransfer.detection.ssdlite.backbone import SSDLiteBackbone
from mixtransfer.detection.ssdlite.model import build_ssdlite


def _row(params: float, gmacs: float, ap: float) -> dict:
    """Millions, 1e9 and per cent as the paper prints them."""
    source = "MixConv paper, Table 1"
    return {"params": round(params * 1e6), "macs": round(gmacs * 1e9), "ap": round(ap / 100, 3), "source": source}


# COCO box AP as a fraction.
TABLE_1 = {
    "mobilenetv1_100": _row(5.12, 1.31, 21.7),
    "mobilenetv1_100.depthwise5x5": _row(5.20, 1.38, 22.3),
    "mobilenetv1_100.mixconv35": _row(5.16, 1.35, 22.2),
    "mobilenetv1_100.depthwise7x7": _row(5.32, 1.47, 21.8),
    "mobilenetv1_100.mixconv357": _row(5.22, 1.39, 22.4),
    "mobilenetv2_100": _row(4.35, 0.79, 21.5),
    "mobilenetv2_100.depthwise5x5": _row(4.47, 0.87, 22.1),
    "mobilenetv2_100.mixconv35": _row(4.41, 0.83, 22.1),
    "mobilenetv2_100.depthwise7x7": _row(4.64, 0.98, 21.2),
    "mobilenetv2_100.mixconv357": _row(4.49, 0.88, 22.3),
}

# Held by tests/detection/ssdlite/test_cost.py.
TABLE_1_NOTE = (
    "The paper does not describe its detector. Its sizes are those of SSDLite at 320 pixels with the expanded tap, 81 "
    "class logits, three anchors instead of six on the finest map, and on MobileNetV2 its last 1×1 convolution (1280 "
    "channels) before the coarser maps: counted so, all ten rows agree within 0.03M parameters and 0.01 GMACs. The "
    "detectors here have six anchors everywhere, as torchvision's, and begin the coarser maps at the last stage."
)


class _Network(nn.Module):
    """From normalised images to logits and deltas; anchors and suppression multiply next to nothing."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.backbone = detector.backbone
        self.head = detector.head

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.head(list(self.backbone(images).values()))


def network_cost(detector: nn.Module, image_size: int = 320) -> dict[str, int]:
    """Parameters and multiply-adds of an image (as ``count_macs`` counts them): {"params": …, "macs": …}.

    Args:
        detector: An ``SSDLite``, or torchvision's ``SSD``; anything with a ``backbone`` that gives a dict of maps, and
            a ``head`` that takes their list.
        image_size: Height and width.
    """
    network = _Network(detector)
    return {"params": count_parameters(network), "macs": count_macs(network, (3, image_size, image_size))}


def detector_cost(
    backbone: str, tap: str | None = None, num_classes: int = 80, image_size: int = 320
) -> dict[str, int]:
    """``network_cost`` of SSDLite on a backbone of the registry. Nothing is computed and no weight is read.

    Args:
        backbone, tap: See ``SSDLiteBackbone``.
        num_classes: Without background.
        image_size: Height and width.
    """
    with torch.device("meta"):
        return network_cost(build_ssdlite(SSDLiteBackbone(backbone, "none", tap), num_classes), image_size)
