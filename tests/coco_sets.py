"""COCO-format sets made on the spot."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 64, 48


def contents(count: int, first: int = 1) -> dict:
    """Images 1, 2 … of 64×48 pixels with two boxes each, of categories 3 "cat" and 7 "dog"."""
    numbers = range(first, first + count)
    return {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": WIDTH, "height": HEIGHT} for i in numbers],
        "annotations": [
            {
                "id": 10 * i + j,
                "image_id": i,
                "category_id": (3, 7)[j],
                "bbox": [4 + i % 5, 6, 20 + j, 30.5],
                "area": (20 + j) * 30.5,
                "iscrowd": 0,
            }
            for i in numbers
            for j in (0, 1)
        ],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
    }


def write_images(folder: Path, coco: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for image in coco["images"]:
        pixels = np.random.default_rng(image["id"]).integers(0, 256, (image["height"], image["width"], 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / image["file_name"], quality=90)


def make_coco(root: Path, edit: Callable[[dict], object] | None = None, **parts: int) -> Path:
    """A set in COCO's layout, with so many images in each part; ``edit`` changes the JSON of the first after the
    images are written."""
    (root / "annotations").mkdir(parents=True)
    for number, (part, count) in enumerate(parts.items()):
        coco = contents(count, first=1 + 100 * number)
        write_images(root / part, coco)
        if edit and number == 0:
            edited = edit(coco)
            coco = coco if edited is None else edited
        (root / "annotations" / f"instances_{part}.json").write_text(json.dumps(coco))
    return root
