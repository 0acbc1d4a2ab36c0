"""Detection data: images with boxes in the layouts that people have them in, as records, their checks, and a set to try
things on."""

from typing import Literal

LayoutName = Literal["auto", "coco", "roboflow", "yolo", "voc", "darknet", "labelimg", "labelstudio", "imagefolder"]
Resize = Literal["warp", "letterbox"]  # how an image becomes a square; see ``Square``
