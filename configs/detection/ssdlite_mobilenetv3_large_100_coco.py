# SSDLite on MobileNetV3-Large, on COCO at 320 pixels
#   mixtransfer detect train coco --config configs/detection/ssdlite_mobilenetv3_large_100_coco.py --data-root DIR
#
# Target: box AP 21.3 on val2017 (torchvision, whose network has half the channels behind stride 32: 3.44M, 0.583).
# Cost: 5.03M parameters, 0.667 GMACs an image; 77 million images, 0.15e18 multiply-adds with the backward pass.
# At r training images/s that is 77 million / r seconds.
# Measured with this recipe: not yet (needs GPUs and the dataset).

from .common.model import model
from .common.torchvision_660_epochs import dataloader, lr_multiplier, optimizer, train

model.backbone.name = "mobilenetv3_large_100"
