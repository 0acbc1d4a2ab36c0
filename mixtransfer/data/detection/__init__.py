"""Detection data: COCO, Pascal VOC and YOLO files as records of boxes, their checks, and a set to try things on."""
