"""The description of a detector that is built already."""

from typing import Any

import torch
from detectron2.modeling.box_regression import Box2BoxTransform

from mixtransfer.data.detection.square import Square
from mixtransfer.detection.spec import DetectorSpec
from mixtransfer.detection.ssdlite.anchors import SSDAnchorGenerator
from mixtransfer.detection.ssdlite.backbone import SSDLiteBackbone
from mixtransfer.detection.ssdlite.head import SSDLiteHead
from mixtransfer.detection.ssdlite.losses import HardNegativeCrossEntropy, SigmoidFocalLoss
from mixtransfer.detection.ssdlite.matcher import SSDMatcher
from mixtransfer.detection.ssdlite.model import SSDLite

# The parts that a description can tell.
PLAIN_PARTS: dict[str, tuple[type, ...]] = {
    "head": (SSDLiteHead,),
    "anchor_generator": (SSDAnchorGenerator,),
    "matcher": (SSDMatcher,),
    "box_transform": (Box2BoxTransform,),
    "classification_loss": (HardNegativeCrossEntropy, SigmoidFocalLoss),
}


def spec_of(model: SSDLite, square: Square) -> DetectorSpec:
    """The description that a detector of ``PLAIN_PARTS`` on an ``SSDLiteBackbone`` would be built from.

    Args:
        square: What it is shown of images, which it does not know itself.
    """
    loss, anchors, body = model.classification_loss, model.anchor_generator, model.backbone
    assert isinstance(body, SSDLiteBackbone) and isinstance(anchors, SSDAnchorGenerator)
    values: dict[str, Any] = (
        {"loss": "focal", "focal_alpha": loss.alpha, "focal_gamma": loss.gamma, "focal_prior": loss.prior}
        if isinstance(loss, SigmoidFocalLoss)
        else {"negative_ratio": loss.negative_ratio}
    )
    for name in ("pixel_mean", "pixel_std"):
        own = getattr(model, name).flatten().tolist()
        if not torch.allclose(torch.tensor(own), torch.tensor(getattr(body, name))):
            values[name] = tuple(own)
    return DetectorSpec(
        image_size=square.size,
        resize=square.resize,
        tap=body.tap or "auto",  # type: ignore[arg-type]
        anchors=anchors.scales,
        aspect_ratios=anchors.aspect_ratios,
        match_iou=model.matcher.threshold,  # type: ignore[attr-defined]
        box_weights=tuple(model.box_transform.weights),
        norm_eps=body.norm_eps,
        min_score=model.score_threshold,
        nms=model.nms_threshold,
        class_agnostic=model.class_agnostic,
        candidates_per_class=model.candidates_per_class,
        max_detections=model.detections_per_image,
        **values,
    )
