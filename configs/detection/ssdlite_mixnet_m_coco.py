# SSDLite on MixNet-M, on COCO at 320 pixels
#   mixtransfer detect train coco --config configs/detection/ssdlite_mixnet_m_coco.py --data-root DIR
#
# Target: none published for this backbone. By the same schedule torchvision's MobileNetV3-Large (0.583 GMACs) came to
# box AP 21.3 on val2017.
# Cost: 4.65M parameters, 0.839 GMACs an image; 77 million images, 0.19e18 multiply-adds with the backward pass.
# At r training images/s that is 77 million / r seconds.
# Measured with this recipe: not yet (needs GPUs and the dataset).

from .common.model import model
from .common.torchvision_660_epochs import dataloader, lr_multiplier, optimizer, train

model.backbone.name = "mixnet_m"
