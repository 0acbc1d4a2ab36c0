"""The whole detector against torchvision's SSDLite, with the same (random) weights."""

from functools import partial

import pytest
import torch
from detecting import TorchvisionBackbone, copy_head, copy_in_order, enliven, example, torchvision_ssdlite
from torch import nn
from torchvision.models import mobilenet_v3_large
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.ssdlite import SSDLiteHead, _mobilenet_extractor
from torchvision.ops import box_iou

from mixtransfer.detection.ssdlite.backbone import SSDLiteBackbone
from mixtransfer.detection.ssdlite.model import SSDLite, build_ssdlite

SIZE = (320, 320)


@pytest.fixture(scope="module")
def theirs() -> SSD:
    return torchvision_ssdlite()


@pytest.fixture(scope="module")
def ours(theirs) -> SSDLite:
    """Our detector on torchvision's own extractor."""
    backbone = TorchvisionBackbone(theirs.backbone, [672, 480, 512, 256, 256, 128])
    detector = build_ssdlite(backbone, num_classes=90, detections_per_image=300)
    copy_head(detector.head, theirs.head)
    return detector.eval()


@torch.no_grad()
def same_detections(theirs: SSD, ours: SSDLite, image: torch.Tensor) -> None:
    """Compare the detections of an image of values from 0 to 1."""
    expected = theirs([image])[0]
    found = ours([{"image": image * 255}])[0]["instances"]
    assert len(found) == len(expected["scores"]) == 300
    torch.testing.assert_close(found.scores, expected["scores"], rtol=1e-3, atol=1e-5)
    # Two detections of nearly the same score may change places by rounding.
    distance = torch.cdist(found.pred_boxes.tensor, expected["boxes"], p=torch.inf)
    distance[found.pred_classes[:, None] != expected["labels"] - 1] = torch.inf
    nearest, index = distance.min(1)
    assert nearest.max() < 0.05  # pixels
    assert len(index.unique()) == 300
    assert (index - torch.arange(300)).abs().max() <= 1


@pytest.mark.parametrize("seed", range(2))
def test_same_detections_on_torchvisions_backbone(theirs, ours, seed):
    image = torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(seed))
    same_detections(theirs, ours, image)


def test_same_detections_on_our_backbone():
    """timm's MobileNetV3 and our extra levels in the place of torchvision's, whose tail is not reduced then."""
    torch.manual_seed(0)
    norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.03)
    body = mobilenet_v3_large(weights=None, norm_layer=partial(nn.BatchNorm2d, eps=1e-5))
    extractor = _mobilenet_extractor(body, 6, norm)
    channels = [672, 960, 512, 256, 256, 128]
    theirs = torchvision_ssdlite()
    theirs.backbone = extractor
    theirs.head = SSDLiteHead(channels, [6] * 6, 91, norm)
    enliven(theirs)

    backbone = SSDLiteBackbone("mobilenetv3_large_100", weights="none")
    assert [shape.channels for shape in backbone.output_shape().values()] == channels
    backbone.pixel_mean = backbone.pixel_std = [127.5] * 3
    ours = build_ssdlite(backbone, num_classes=90, detections_per_image=300).eval()
    copy_in_order(backbone.body, extractor.features)
    copy_in_order(backbone.extra, extractor.extra)
    copy_head(ours.head, theirs.head)
    same_detections(theirs, ours, torch.rand(3, *SIZE))


def test_same_losses(theirs, ours):
    truth = [example(SIZE, objects, num_classes=90, seed=objects)["instances"] for objects in (3, 0, 40)]
    images = torch.randn(3, 3, *SIZE)
    with torch.no_grad():
        logits, deltas, anchors = ours.predict(images)
    targets = [{"boxes": x.gt_boxes.tensor, "labels": x.gt_classes + 1} for x in truth]
    matches = [
        theirs.proposal_matcher(box_iou(x["boxes"], anchors)) if len(x["boxes"]) else torch.full((len(anchors),), -1)
        for x in targets
    ]
    outputs = {"cls_logits": logits.roll(1, -1), "bbox_regression": deltas}
    expected = theirs.compute_loss(targets, outputs, [anchors] * 3, matches)
    losses = ours.losses(logits, deltas, anchors, truth)
    torch.testing.assert_close(losses["loss_cls"], expected["classification"], rtol=1e-6, atol=0)
    torch.testing.assert_close(losses["loss_box_reg"], expected["bbox_regression"], rtol=1e-6, atol=0)


def test_same_suppression_of_the_same_predictions(theirs, ours):
    """Exactly the same detections, where a few objects claim hundreds of anchors of their class."""
    torch.manual_seed(1)
    map_sizes = [(20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]
    anchors = ours.anchor_generator(map_sizes, SIZE)
    deltas = torch.randn(len(anchors), 4)
    for spreading in (0.5, 3.0):
        logits = spreading * torch.randn(len(anchors), 91)
        logits[:, 3] += 4  # above the threshold nearly everywhere
        outputs = {"cls_logits": logits.roll(1, -1)[None], "bbox_regression": deltas[None]}
        expected = theirs.postprocess_detections(outputs, [anchors], [SIZE])[0]
        found = ours.detections(logits, deltas, anchors, SIZE)
        assert torch.equal(found.pred_classes, expected["labels"] - 1)
        torch.testing.assert_close(found.scores, expected["scores"], rtol=1e-5, atol=0)
        torch.testing.assert_close(found.pred_boxes.tensor, expected["boxes"], rtol=0, atol=1e-4)


def test_torchvisions_size(theirs, ours):
    """What torchvision publishes for its model: 3,440,060 parameters."""
    ours_count = sum(p.numel() for p in ours.parameters())
    assert ours_count == sum(p.numel() for p in theirs.parameters()) == 3_440_060
