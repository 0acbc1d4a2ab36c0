"""torchvision's SSDLite in our names: the same network, told by its tensors."""

import re
from collections.abc import Mapping

import torch
import torchvision
from torchvision.models.detection import SSDLite320_MobileNet_V3_Large_Weights

from mixtransfer.backbones import create_backbone
from mixtransfer.backbones.weights import first_mismatch
from mixtransfer.detection.spec import DetectorSpec
from mixtransfer.errors import UserError

BACKBONE = "mobilenetv3_large_100.reduced"
SPEC = DetectorSpec(tap="expanded", pixel_mean=(127.5,) * 3, pixel_std=(127.5,) * 3, norm_eps=1e-3)
ANCHORS_PER_CELL = 6
_CLASSES, _BOXES = "head.classification_head.module_list.", "head.regression_head.module_list."
_LOGITS = re.compile(r"head\.classes\.\d+\.1\.(weight|bias)")
COCO = SSDLite320_MobileNet_V3_Large_Weights.COCO_V1


def coco_classes() -> list[str | None]:
    """COCO's names in the order of the logits, None for its numbers that no class has; without the background."""
    return [None if name == "N/A" else name for name in COCO.meta["categories"][1:]]


def is_torchvisions(state: Mapping[str, torch.Tensor]) -> bool:
    """Whether tensors are those of one of torchvision's SSDs, to go by their names."""
    return any(name.startswith(_CLASSES) for name in state)


def from_torchvision(state: Mapping[str, torch.Tensor], source: str) -> dict[str, torch.Tensor]:
    """The tensors of torchvision's ``ssdlite320_mobilenet_v3_large`` as our ``SSDLite`` on ``BACKBONE`` has them.

    The body's are renamed by their order in torchvision's network, the others by their names; of the class logits the
    background, which torchvision has first, becomes the last.

    Args:
        state: Tensors by torchvision's names, of any number of classes.
        source: The file, for the message.

    Raises:
        UserError: They are of another architecture.
    """
    first = state.get(f"{_CLASSES}0.1.bias", torch.empty(0))
    logits = len(first) // ANCHORS_PER_CELL
    with torch.device("meta"):
        theirs = torchvision.models.detection.ssdlite320_mobilenet_v3_large(
            weights=None, weights_backbone=None, num_classes=max(2, logits)
        ).state_dict()
        body = create_backbone(BACKBONE, "none", features_only=True).state_dict()
    if mismatch := first_mismatch(state, theirs):
        raise UserError(
            f"{source} holds weights of another architecture than torchvision's ssdlite320_mobilenet_v3_large, as "
            f"published for COCO (with weights_backbone=None, which reduces its tail): {mismatch}."
        )
    of_body = iter(body)
    converted = {}
    for name in theirs:
        tensor = state[name] if name in state else torch.tensor(0)  # a batch norm's step counter, which files may lack
        if name.startswith("backbone.features."):
            name = f"backbone.body.{next(of_body)}"
        name = name.replace(_CLASSES, "head.classes.").replace(_BOXES, "head.boxes.")
        if _LOGITS.fullmatch(name):
            tensor = tensor.unflatten(0, (ANCHORS_PER_CELL, logits)).roll(-1, 1).flatten(0, 1)
        converted[name] = tensor
    return converted
