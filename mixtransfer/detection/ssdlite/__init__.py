"""SSDLite on detectron2: one-stage detection of depthwise-separable convolutions (MobileNetV2 paper, section 6.2).

The network and its post-processing follow torchvision's ``ssdlite320_mobilenet_v3_large``, which tests hold it to.
"""

from mixtransfer.detection.compat import prepare_detectron2

prepare_detectron2()  # before the modules below import it
