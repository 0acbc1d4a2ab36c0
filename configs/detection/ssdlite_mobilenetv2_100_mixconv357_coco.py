# SSDLite on MobileNetV2 with MixConv 3, 5, 7, on COCO at 320 pixels
#   mixtransfer detect train coco --config configs/detection/ssdlite_mobilenetv2_100_mixconv357_coco.py --data-root DIR
#
# Target: box AP 22.3 (MixConv paper, Table 1: 4.49M, 0.88 GMACs; the paper does not tell its schedule).
# Cost: 3.45M parameters, 0.818 GMACs an image; 70 million images, 0.17e18 multiply-adds with the backward pass.
# At r training images/s that is 70 million / r seconds.
# Measured with this recipe: not yet (needs GPUs and the dataset).

from .common.mmdetection_600_epochs import dataloader, lr_multiplier, optimizer, train
from .common.model import model

model.backbone.name = "mobilenetv2_100.mixconv357"
