"""Data that many tests need: small image folders made on the spot."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


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


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """Three classes of 12 images, not split."""
    return make_folder(tmp_path / "images", {"cat": 12, "dog": 12, "fish": 12})


@pytest.fixture
def shared_data() -> Path:
    """Real images in the datasets' own layouts, where a checkout has them beside it."""
    if not SHARED_DATA.is_dir():
        pytest.skip("../shared/data is not there")
    return SHARED_DATA
