"""Images/s of a training step, ours against plain timm in eager PyTorch, side by side in one process.

    python tools/bench_training.py --backbone mixnet_s --image-size 64 --batch-size 32

Both networks have the same architecture and see the same random images. Plain is timm's model in NCHW with
PyTorch's default AdamW, its images normalized beforehand; ours is the module that `classify train` trains, from
uint8 images on. Rounds alternate, so that whatever else the machine does hits both alike; the ratio is the median of
the rounds' ratios. With --keep-freed-memory both also have what our commands set for the process; the ratio of two
calls, with and without it, is what that brings.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Literal

import timm
import torch
import torch.nn.functional as F
from torch import nn

from mixtransfer.backbones import create_backbone
from mixtransfer.classification.module import ImageClassifier
from mixtransfer.classification.recipe import Recipe
from mixtransfer.common.process import keep_freed_memory
from mixtransfer.data.preprocessing import Preprocessing

BatchNorm = Literal["frozen", "train"]

CLASSES = 10


def plain_step(backbone: str, images: torch.Tensor, labels: torch.Tensor, batch_norm: BatchNorm) -> Callable[[], None]:
    model = timm.create_model(backbone, num_classes=CLASSES).train()
    if batch_norm == "frozen":
        for module in model.modules():
            module.train(not isinstance(module, nn.BatchNorm2d))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.05)
    inputs = images.contiguous().float().sub(127).div(64)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), labels, label_smoothing=0.1).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def our_step(backbone: str, images: torch.Tensor, labels: torch.Tensor, batch_norm: BatchNorm) -> Callable[[], None]:
    model = create_backbone(backbone, weights="none", num_classes=CLASSES)
    recipe = Recipe(lr=1e-3, layer_decay=1.0, batch_norm=batch_norm)
    module = ImageClassifier(model, Preprocessing.of(model, images.shape[-1]), recipe).train()
    optimizer = recipe.optimizer_for(model)

    def step() -> None:
        optimizer.zero_grad()
        module.loss(images, labels).backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()

    return step


def measure(backbone: str, image_size: int, batch_size: int, batch_norm: BatchNorm, rounds: int, steps: int) -> dict:
    """Medians over alternating rounds: images/s of both, and the ratio ours / plain."""
    images = torch.randint(0, 256, (batch_size, image_size, image_size, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    labels = torch.randint(0, CLASSES, (batch_size,))
    contenders = {
        name: step(backbone, images, labels, batch_norm) for name, step in (("plain", plain_step), ("ours", our_step))
    }
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    for step in contenders.values():
        step()
        step()
    for _ in range(rounds):
        for name, step in contenders.items():
            start = time.perf_counter()
            for _ in range(steps):
                step()
            speeds[name].append(batch_size * steps / (time.perf_counter() - start))
    ratios = [ours / plain for ours, plain in zip(speeds["ours"], speeds["plain"], strict=True)]
    return {
        "backbone": backbone, "image_size": image_size, "batch_size": batch_size, "batch_norm": batch_norm,
        "torch": torch.__version__,
        "plain_images_per_second": round(statistics.median(speeds["plain"]), 1),
        "ours_images_per_second": round(statistics.median(speeds["ours"]), 1),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_range": [round(min(ratios), 3), round(max(ratios), 3)],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="mixnet_s")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--batch-norm", choices=("train", "frozen"), default="train")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=4, help="training steps a round")
    parser.add_argument("--keep-freed-memory", action="store_true")
    arguments = vars(parser.parse_args())
    if arguments.pop("keep_freed_memory"):
        keep_freed_memory()
    print(json.dumps(measure(**arguments)))


if __name__ == "__main__":
    main()
