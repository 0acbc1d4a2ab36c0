"""Detection: SSDLite on detectron2."""
