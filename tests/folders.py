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


LABELS = ("blue", "green", "red")  # what ``make_labelled`` shows, a patch of its colour each


def make_labelled(root: Path, count: int = 40, size: int = 48, seed: int = 0) -> Path:
    """Images that show any of ``LABELS``, with a manifest: the path of ``labels.csv``."""
    generator = np.random.default_rng(seed)
    (root / "images").mkdir(parents=True, exist_ok=True)
    lines = ["path,labels"]
    for i in range(count):
        shown = generator.random(3) < (0.5, 0.4, 0.3)
        pixels = generator.normal(120, 20, (size, size, 3))
        for label, channel in enumerate((2, 1, 0)):
            if shown[label]:
                pixels[label * size // 3 : (label + 1) * size // 3, :, channel] += 100
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(root / "images" / f"{i:03}.png")
        lines.append(
            f"images/{i:03}.png,{';'.join(name for name, is_there in zip(LABELS, shown, strict=True) if is_there)}"
        )
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return root / "labels.csv"
