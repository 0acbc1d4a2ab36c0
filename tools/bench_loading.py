"""Images/s of loading and augmenting alone, ours against torchvision's ImageFolder, side by side in one process.

    python tools/bench_loading.py FOLDER --image-size 224 --workers 2

FOLDER holds one folder of images for each class. Both loaders read the same files with the same number of workers,
and do comparable work: random resized crop, flip, and whatever it takes until a normalized float batch lies in
memory (torchvision normalizes in its workers, ours after loading, as training does). Rounds alternate.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from mixtransfer.classification.datamodule import ImageDataModule
from mixtransfer.data.augment import Augment
from mixtransfer.data.dataset import Examples, ImageDataset
from mixtransfer.data.preprocessing import Normalize, Preprocessing

BATCH = 64


def torchvision_epoch(folder: Path, size: int, workers: int) -> Callable[[], int]:
    preprocessing = Preprocessing(size)
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(size, (0.3, 1.0), interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(preprocessing.mean, preprocessing.std),
        ]
    )
    loader = DataLoader(
        datasets.ImageFolder(folder, transform),
        BATCH,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    return lambda: sum(len(labels) for _, labels in loader)


def our_epoch(folder: Path, size: int, workers: int) -> Callable[[], int]:
    files = datasets.ImageFolder(folder).samples
    examples = Examples([Path(path) for path, _ in files], np.array([label for _, label in files]))
    dataset = ImageDataset(folder.name, [], examples, examples, examples)
    preprocessing = Preprocessing(size)
    data = ImageDataModule(dataset, preprocessing, Augment("crop-flip", size), BATCH, workers)
    loader, normalize = data.train_dataloader(), Normalize(preprocessing)
    return lambda: sum(len(normalize(images)) for images, _ in loader)


def measure(folder: Path, image_size: int, workers: int, rounds: int) -> dict:
    """Medians over alternating epochs: images/s of both, and the ratio ours / torchvision."""
    contenders = {
        "torchvision": torchvision_epoch(folder, image_size, workers),
        "ours": our_epoch(folder, image_size, workers),
    }
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    for epoch in contenders.values():
        epoch()  # starts the workers and fills the file cache
    for _ in range(rounds):
        for name, epoch in contenders.items():
            start = time.perf_counter()
            images = epoch()
            speeds[name].append(images / (time.perf_counter() - start))
    ratios = [ours / theirs for ours, theirs in zip(speeds["ours"], speeds["torchvision"], strict=True)]
    return {
        "images": images, "image_size": image_size, "workers": workers, "torch": torch.__version__,
        "torchvision_images_per_second": round(statistics.median(speeds["torchvision"])),
        "ours_images_per_second": round(statistics.median(speeds["ours"])),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_range": [round(min(ratios), 3), round(max(ratios), 3)],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    print(json.dumps(measure(**vars(parser.parse_args()))))


if __name__ == "__main__":
    main()
