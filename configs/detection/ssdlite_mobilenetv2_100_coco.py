# SSDLite on MobileNetV2, on COCO at 320 pixels
#   mixtransfer detect train coco --config configs/detection/ssdlite_mobilenetv2_100_coco.py --data-root DIR
#
# Target: box AP 21.5 (MixConv paper, Table 1: 4.35M, 0.79 GMACs; the paper does not tell its schedule) and 21.3
# (MMDetection, whose coarser maps begin with another 1×1 convolution, of 1280 channels).
# Cost: 3.32M parameters, 0.731 GMACs an image; 70 million images, 0.15e18 multiply-adds with the backward pass.
# At r training images/s that is 70 million / r seconds.
# Measured with this recipe: not yet (needs GPUs and the dataset).

from .common.mmdetection_600_epochs import dataloader, lr_multiplier, optimizer, train
from .common.model import model

model.backbone.name = "mobilenetv2_100"
