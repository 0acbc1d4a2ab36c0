"""Wall time and accuracy of fine-tuning, `classify train` against timm's own loop, one after the other.

    python tools/bench_finetuning.py --data-root data --epochs 20

Both start from the same ImageNet weights, train on the same images for the same number of epochs at the same size and
batch, with as many loading processes, and look at the validation part after every epoch and at the test part once.
timm's loop is made of its parts as its train script puts them together (create_loader with its standard augmentation,
create_optimizer_v2, create_scheduler_v2, label smoothing), in eager PyTorch in NCHW. It is trained at each of --lrs,
and the one that does best on the validation part at the end is tested; the time is that of this training alone. Ours is
the whole command with its defaults, from reading the images to the report.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import timm
import torch
from timm.data import create_loader
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from torch.utils.data import Dataset

from mixtransfer.backbones import backbone_spec, create_backbone
from mixtransfer.classification.options import TrainOptions
from mixtransfer.classification.train import train
from mixtransfer.common.machine import machine
from mixtransfer.data.dataset import Examples
from mixtransfer.data.load import load_dataset
from mixtransfer.data.loading import default_workers
from mixtransfer.data.preprocessing import Preprocessing

BATCH = 32


class Pictures(Dataset):
    """Examples as timm's loader takes a dataset: it sets ``transform``."""

    def __init__(self, examples: Examples) -> None:
        self.examples = examples
        self.transform: Any = None

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int):
        return self.transform(self.examples.image(index)), int(self.examples.labels[index])


def timm_training(options: TrainOptions, epochs: int, lr: float) -> dict[str, float]:
    """Fine-tune as timm does: top-1 on the validation and the test part, fractions, and the seconds that it took."""
    began = time.perf_counter()
    torch.manual_seed(options.seed)
    dataset = load_dataset(str(options.data), options.data_root)
    ours = create_backbone(options.backbone, num_classes=len(dataset.classes))
    model = timm.create_model(backbone_spec(options.backbone).timm_name, num_classes=len(dataset.classes))
    model.load_state_dict(ours.state_dict())
    wanted = Preprocessing.of(ours, options.image_size)
    settings: dict[str, Any] = {
        "input_size": (3, wanted.size, wanted.size), "batch_size": BATCH, "use_prefetcher": False,
        "device": torch.device("cpu"), "num_workers": default_workers(), "interpolation": wanted.interpolation,
        "mean": wanted.mean, "std": wanted.std, "crop_pct": wanted.crop,
    }  # fmt: skip
    batches = create_loader(cast(Any, Pictures(dataset.train)), is_training=True, **settings)
    criterion = LabelSmoothingCrossEntropy(0.1)
    optimizer = create_optimizer_v2(model, "adamw", lr=lr, weight_decay=0.05)
    schedule, _ = create_scheduler_v2(optimizer, "cosine", num_epochs=epochs, warmup_epochs=1, warmup_lr=lr / 10)
    for epoch in range(epochs):
        model.train()
        for images, labels in batches:
            optimizer.zero_grad()
            criterion(model(images), labels).backward()
            optimizer.step()
        schedule.step(epoch + 1)
        validation = timm_top1(model, dataset.val, settings)
    test = timm_top1(model, dataset.test, settings)
    return {"lr": lr, "validation": validation, "test": test, "seconds": time.perf_counter() - began}


@torch.inference_mode()
def timm_top1(model: torch.nn.Module, examples: Examples, settings: dict) -> float:
    model.eval()
    batches = create_loader(cast(Any, Pictures(examples)), is_training=False, **settings)
    right = sum(int((model(images).argmax(1) == labels).sum()) for images, labels in batches)
    return right / len(examples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="pets")
    parser.add_argument("--data-root", default="data")
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--lrs", default="2e-4,5e-4,1e-3,2e-3,5e-3", help="of timm's loop, with commas between")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        options = TrainOptions(
            given.data, given.backbone, data_root=given.data_root, epochs=given.epochs, batch_size=BATCH,
            image_size=given.image_size, seed=given.seed, output=str(Path(folder) / "run"),
        )  # fmt: skip
        sweep = [timm_training(options, given.epochs, float(lr)) for lr in given.lrs.split(",")]
        theirs = max(sweep, key=lambda one: one["validation"])
        start = time.perf_counter()
        run = train(options)
        assert run
        seconds = time.perf_counter() - start
        ours = run.read_metrics()["test"]["top1"]["value"]
    print(
        json.dumps(
            {
                **vars(given),
                **machine(),
                "timm": sweep,
                "timm_lr": theirs["lr"],
                "timm_seconds": round(theirs["seconds"], 1),
                "timm_top1": round(theirs["test"], 4),
                "ours_seconds": round(seconds, 1),
                "ours_top1": round(ours, 4),
                "ours/timm": round(seconds / theirs["seconds"], 3),
            }
        )  # fmt: skip
    )


if __name__ == "__main__":
    main()
