"""Boxes drawn on images."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mixtransfer.detection.scores import Detections

# Okabe and Ito's colours, which people who are colour-blind can tell apart.
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
TRUTH = "#FFFFFF"


def draw_detections(image: Image.Image, detections: Detections, classes: Sequence[str]) -> Image.Image:
    """A copy of an RGB image with a box, the class and the score of each detection, the best on top."""
    drawn = image.copy()
    for i in reversed(range(len(detections.boxes))):
        label = int(detections.labels[i])
        text = f"{classes[label]} {100 * detections.scores[i]:.0f} %"
        _box(drawn, detections.boxes[i], text, COLOURS[label % len(COLOURS)])
    return drawn


def draw_truth(image: Image.Image, boxes: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> Image.Image:
    """A copy of an RGB image with annotated boxes in white, named at their lower edge."""
    drawn = image.copy()
    for box, label in zip(boxes, labels, strict=True):
        _box(drawn, box, classes[int(label)], TRUTH, below=True)
    return drawn


def _box(image: Image.Image, box: np.ndarray, text: str, colour: str, below: bool = False) -> None:
    draw = ImageDraw.Draw(image)
    short = min(image.size)
    width = max(2, round(short / 200))
    x1, y1, x2, y2 = (float(value) for value in box)
    x2, y2 = max(x1, x2), max(y1, y2)
    draw.rectangle((x1, y1, x2, y2), outline="black", width=width + 2)
    draw.rectangle((x1 + 1, y1 + 1, max(x1 + 1, x2 - 1), max(y1 + 1, y2 - 1)), outline=colour, width=width)
    font = _font(max(11, round(short / 30)))
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    height, wide = bottom - top + 4, right - left + 6
    x = min(max(0.0, x1), max(0.0, image.width - wide))
    y = y2 - height if below else y1 - height
    y = min(max(0.0, y), max(0.0, image.height - height))
    draw.rectangle((x, y, x + wide, y + height), fill=colour)
    draw.text((x + 3 - left, y + 2 - top), text, fill="black", font=font)


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and has most scripts' letters."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)
