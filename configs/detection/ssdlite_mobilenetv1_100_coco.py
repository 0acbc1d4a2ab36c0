# SSDLite on MobileNetV1, on COCO at 320 pixels
#   mixtransfer detect train coco --config configs/detection/ssdlite_mobilenetv1_100_coco.py --data-root DIR
#
# Target: box AP 21.7 (MixConv paper, Table 1: 5.12M, 1.31 GMACs; the paper does not tell its schedule).
# Cost: 5.23M parameters, 1.361 GMACs an image; 70 million images, 0.29e18 multiply-adds with the backward pass.
# At r training images/s that is 70 million / r seconds.
# Measured with this recipe: not yet (needs GPUs and the dataset).

from .common.mmdetection_600_epochs import dataloader, lr_multiplier, optimizer, train
from .common.model import model

model.backbone.name = "mobilenetv1_100"
