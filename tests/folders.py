"""Image folders made on the spot."""

from pathlib import Path

import numpy as np
from PIL import Image


def make_folder(root: Path, classes: dict[str, int], size: int = 48, seed: int = 0) -> Path:
    """An image folder: class name → number of images; each class has a colour of its own under noise."""
    generator = np.random.default_rng(seed)
    for number, (name, count) in enumerate(classes.items()):
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        colour = np.random.default_rng(number).integers(40, 216, 3)
        for i in range(count):
            pixels = np.clip(colour + generator.normal(0, 25, (size, size, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{i:03}.jpg", quality=92)
    return root
