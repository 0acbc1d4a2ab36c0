"""What a detector costs: parameters and multiply-adds."""

from typing import Any

import torch
from torch import nn

from mixtransfer.backbones import count_macs, count_parameters
from mixtransfer.detection.ssdlite.backbone import SSDLiteBackbone
from mixtransfer.detection.ssdlite.model import build_ssdlite


class _Network(nn.Module):
    """From normalised images to logits and deltas; anchors and suppression multiply next to nothing."""

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.backbone: nn.Module = detector.backbone
        self.head: nn.Module = detector.head

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
        return network_cost(build_ssdlite(SSDLiteBackbone(backbone, "none", tap, image_size), num_classes), image_size)
