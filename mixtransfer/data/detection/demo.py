"""A small COCO-format set from what comes with scikit-learn: handwritten digits on photographs."""

import json
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from mixtransfer.common.files import write_atomic

SIZE = 320  # pixels, side of an image
DIGITS = range(1, 5)  # an image
SIDES = (84, 192)  # pixels, of the square that a digit is written in
PHOTO_SHARE = 0.7  # of a photograph's width, for training
DIGIT_SHARE = 0.8  # of the digits, for training


def write_digits_on_photos(folder: Path, train: int = 400, test: int = 100, seed: int = 0) -> Path:
    """Write images of digits on photographs, with exact boxes, in COCO's layout.

    The digits are scikit-learn's (8×8 pixels, drawn from those kept for the part) in a random size, slant, ink and
    place, without overlap; the backgrounds are crops of its two sample photographs, the left of them for training and
    the right for the test. So the parts share neither a digit nor a pixel of background.

    Args:
        folder: Gets ``annotations/instances_{train,test}.json`` and ``train/`` and ``test/`` with JPEG files.
        train, test: Number of images.
        seed: Everything follows from it.

    Returns:
        ``folder``, for ``load_detection_dataset``.
    """
    from sklearn.datasets import load_digits, load_sample_images

    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    photos = [image[..., :3] for image in load_sample_images().images]
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    for number, (part, count) in enumerate((("train", train), ("test", test))):
        first = part == "train"
        cut = round(DIGIT_SHARE * len(order))
        chosen = order[:cut] if first else order[cut:]
        columns = [round(PHOTO_SHARE * photo.shape[1]) for photo in photos]
        grounds = [photo[:, :c] if first else photo[:, c:] for photo, c in zip(photos, columns, strict=True)]
        generator = np.random.default_rng((seed, number))
        (folder / part).mkdir(exist_ok=True)
        images: list[dict] = []
        annotations: list[dict] = []
        for i in range(1, count + 1):
            canvas, boxes, labels = _scene(grounds, digits.images[chosen], digits.target[chosen], generator)
            name = f"{i:06}.jpg"
            Image.fromarray(canvas).save(folder / part / name, quality=92)
            images.append({"id": i, "file_name": name, "width": SIZE, "height": SIZE})
            for (x1, y1, x2, y2), label in zip(boxes, labels, strict=True):
                width, height = x2 - x1, y2 - y1
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": i,
                        "category_id": label + 1,
                        "bbox": [x1, y1, width, height],
                        "area": width * height,
                        "iscrowd": 0,
                    }
                )
        contents = {
            "info": {"description": f"scikit-learn's digits on its sample photographs, seed {seed}"},
            "images": images,
            "annotations": annotations,
            "categories": [{"id": d + 1, "name": str(d)} for d in range(10)],
        }
        write_atomic(folder / "annotations" / f"instances_{part}.json", json.dumps(contents))
    return folder


def _scene(
    grounds: list[np.ndarray], glyphs: np.ndarray, targets: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, list[tuple[int, int, int, int]], list[int]]:
    """An image with boxes x1, y1, x2, y2 in pixels and the digits in them."""
    canvas = _background(grounds[generator.integers(len(grounds))], generator)
    boxes: list[tuple[int, int, int, int]] = []
    labels: list[int] = []
    for _ in range(generator.integers(DIGITS.start, DIGITS.stop)):
        index = generator.integers(len(glyphs))
        ink = write_glyph(glyphs[index], generator)
        height, width = ink.shape
        for _ in range(30):  # places to try
            x, y = generator.integers(0, SIZE - width + 1), generator.integers(0, SIZE - height + 1)
            box = (int(x), int(y), int(x + width), int(y + height))
            if all(min(box[2], b[2]) <= max(box[0], b[0]) or min(box[3], b[3]) <= max(box[1], b[1]) for b in boxes):
                paste(canvas, ink, box[:2], generator)
                boxes.append(box)
                labels.append(int(targets[index]))
                break
    return canvas, boxes, labels


def _background(photo: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A square of the photograph, mirrored or not."""
    side = generator.integers(100, min(photo.shape[:2]) + 1)
    y, x = (generator.integers(0, length - side + 1) for length in photo.shape[:2])
    crop = photo[y : y + side, x : x + side]
    crop = crop[:, ::-1] if generator.random() < 0.5 else crop
    return cv2.resize(np.ascontiguousarray(crop), (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)


def write_glyph(glyph: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """How much ink an 8×8 glyph of values 0…16 leaves, enlarged and slanted: float32 in 0…1, without empty margins."""
    side = int(generator.integers(SIDES[0], SIDES[1] + 1))
    large = cv2.resize(np.pad(glyph, 2).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), float(generator.uniform(-12, 12)), 1.0)
    large = cv2.warpAffine(large, turn, (side, side), flags=cv2.INTER_LINEAR)
    ink = np.clip((large - 6.5) / 3, 0, 1)
    ink[ink < 0.1] = 0
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def paste(canvas: np.ndarray, ink: np.ndarray, corner: tuple[int, int], generator: np.random.Generator) -> None:
    """Write in a colour that stands out from what is there."""
    x, y = corner
    place = canvas[y : y + ink.shape[0], x : x + ink.shape[1]]
    low, high = (0, 50) if place[ink > 0].mean() > 128 else (205, 256)
    colour = generator.integers(low, high, 3)
    place[:] = np.round(place + ink[..., None] * (colour - place.astype(np.float32))).astype(np.uint8)
