"""What tests of the detector share; they are skipped where detectron2 is not installed.

Import it before detectron2, so that the skip comes first.
"""

import pytest

pytest.importorskip("detectron2", reason="detectron2 is not installed: mixtransfer install-detectron2")

import torch  # noqa: E402
import torchvision  # noqa: E402
from torch import nn  # noqa: E402

from mixtransfer.detection.compat import prepare_detectron2  # noqa: E402

prepare_detectron2()

from detectron2.layers import ShapeSpec  # noqa: E402
from detectron2.modeling import Backbone  # noqa: E402
from detectron2.structures import Boxes, Instances  # noqa: E402


def example(size: tuple[int, int] = (96, 96), objects: int = 2, num_classes: int = 80, seed: int = 0) -> dict:
    """One random input of the detector."""
    random = torch.Generator().manual_seed(seed)
    height, width = size
    corner = torch.rand(objects, 2, generator=random) * torch.tensor([width, height]) / 2
    extent = (0.2 + 0.3 * torch.rand(objects, 2, generator=random)) * torch.tensor([width, height])
    instances = Instances(size)
    instances.gt_boxes = Boxes(torch.cat((corner, corner + extent), 1))
    instances.gt_classes = torch.randint(0, num_classes, (objects,), generator=random)
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=random)
    return {"image": image, "instances": instances}


def torchvision_ssdlite() -> nn.Module:
    """torchvision's detector with random weights, in evaluation mode."""
    torch.manual_seed(0)
    detector = torchvision.models.detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)
    return enliven(detector)


@torch.no_grad()
def enliven(detector: nn.Module) -> nn.Module:
    """Draw weights of torchvision's detector so that its predictions differ between places and images.

    With its own random weights the activations vanish, and all anchors of a kind have the same score.
    """
    for layer in detector.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out")
            if layer.bias is not None:
                nn.init.normal_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    detector.train()
    detector.head(list(detector.backbone(torch.randn(4, 3, 320, 320)).values()))  # sets the running statistics
    for predictor in detector.head.regression_head.module_list:
        predictor[-1].weight *= 0.2
    return detector.eval()


class TorchvisionBackbone(Backbone):
    """torchvision's own extractor as a part of our detector."""

    def __init__(self, extractor: nn.Module, channels: list[int]) -> None:
        super().__init__()
        self.extractor = extractor
        self.channels = channels
        self.pixel_mean = self.pixel_std = [127.5] * 3

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {str(i): ShapeSpec(channels=channels) for i, channels in enumerate(self.channels)}

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return self.extractor(images)


def copy_in_order(ours: nn.Module, theirs: nn.Module) -> None:
    """Copy the state of a module whose tensors come in the same order under other names."""
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))


@torch.no_grad()
def copy_head(ours: nn.Module, theirs: nn.Module) -> None:
    """Copy torchvision's head into ours, whose last class is the background, where torchvision's first is."""
    copy_in_order(ours.boxes, theirs.regression_head.module_list)
    copy_in_order(ours.classes, theirs.classification_head.module_list)
    for predictor in ours.classes:
        for tensor in predictor[-1].parameters():
            tensor.copy_(tensor.unflatten(0, (-1, ours.num_logits)).roll(-1, 1).flatten(0, 1))
