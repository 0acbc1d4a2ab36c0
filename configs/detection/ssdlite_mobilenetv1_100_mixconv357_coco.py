# SSDLite on MobileNetV1 with MixConv 3, 5, 7, on COCO at 320 pixels
#   mixtransfer detect train coco --config configs/detection/ssdlite_mobilenetv1_100_mixconv357_coco.py --data-root DIR
#
# Target: box AP 22.4 (MixConv paper, Table 1: 5.22M, 1.39 GMACs; the paper does not tell its schedule).
# Cost: 5.32M parameters, 1.433 GMACs an image; 70 million images, 0.30e18 multiply-adds with the backward pass.
# At r training images/s that is 70 million / r seconds.
# Measured with this recipe: not yet (needs GPUs and the dataset).

from .common.mmdetection_600_epochs import dataloader, lr_multiplier, optimizer, train
from .common.model import model

model.backbone.name = "mobilenetv1_100.mixconv357"
