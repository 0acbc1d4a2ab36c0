"""SSDLite at 320 pixels for the 80 classes of COCO, as torchvision's ssdlite320_mobilenet_v3_large has it."""

from detectron2.config import LazyCall as L

from mixtransfer.detection.ssdlite.anchors import SSDAnchorGenerator
from mixtransfer.detection.ssdlite.backbone import SSDLiteBackbone
from mixtransfer.detection.ssdlite.losses import HardNegativeCrossEntropy
from mixtransfer.detection.ssdlite.model import build_ssdlite

model = L(build_ssdlite)(
    # Both published schedules train from random weights; "imagenet" or a file starts ahead.
    backbone=L(SSDLiteBackbone)(name="???", weights="none", tap=None),
    num_classes=80,
    classification_loss=L(HardNegativeCrossEntropy)(negative_ratio=3),  # or losses.SigmoidFocalLoss
    anchor_generator=L(SSDAnchorGenerator)(aspect_ratios=[2, 3], min_ratio=0.2, max_ratio=0.95),
    score_threshold=0.001,
    candidates_per_class=300,
    nms_threshold=0.55,
    detections_per_image=100,  # what COCO's AP counts; torchvision returns 300
)
