# SSDLite on MixNet-S with ImageNet weights, on COCO at 320 pixels, short
#   mixtransfer detect train coco --config configs/detection/ssdlite_mixnet_s_coco_200_epochs.py --data-root DIR
#
# Target: none published. What an interrupt leaves goes on by --resume RUN.
# Cost: 3.77M parameters, 0.636 GMACs an image; 23 million images.
# At r training images/s that is 23 million / r seconds.
# Measured with this recipe: not yet (needs a GPU and the dataset).

from .common.model import model
from .common.short_200_epochs import dataloader, lr_multiplier, optimizer, train

model.backbone.name = "mixnet_s"
model.backbone.weights = "imagenet"
