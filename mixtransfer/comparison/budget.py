"""How many passes over the data fit in a time, by the time that a training step takes here."""

import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from mixtransfer.device import keep_freed_memory
from mixtransfer.errors import UserError
from mixtransfer.files import write_atomic

STEPS = 5  # timed, after two that are not


def passes_within(minutes: float, task: str, options, folder: Path) -> dict[str, int]:
    """The option ("epochs" or "iterations") that makes a training last about as long as asked, with its value.

    Steps of forward, backward and optimizer on random images are timed; loading is taken to keep up, and fitting the
    head, evaluating and testing come on top. What was found is kept in ``budget.json``, so that every seed, and a
    study that goes on, gets the same.

    Args:
        task: "classify" or "detect".
        options: Those of the training, resolved as far as the comparison does it.
        folder: The study's.
    """
    file = folder / "budget.json"
    known = _read(file)
    if options.backbone not in known:
        keep_freed_memory()
        step, images = {"classify": _classification, "detect": _detection}[task](options)
        seconds = _seconds(step)
        steps = minutes * 60 / seconds
        passes = steps if task == "detect" else steps / math.ceil(images / options.batch_size)
        if passes < 1:
            raise UserError(
                f"--budget-minutes {minutes:g} is too short for one epoch of {options.backbone}, which takes "
                f"{steps and minutes / passes:.1f} minutes here."
            )
        known[options.backbone] = {"seconds_per_step": round(seconds, 4), "passes": int(passes)}
        write_atomic(file, json.dumps(known, indent=2) + "\n")
    return {"iterations" if task == "detect" else "epochs": known[options.backbone]["passes"]}


def _read(file: Path) -> dict[str, dict]:
    try:
        known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        whole = all(type(entry["passes"]) is int and entry["passes"] >= 1 for entry in known.values())
    except (OSError, ValueError, RecursionError, AttributeError, KeyError, TypeError):
        whole = False
    if not whole:
        raise UserError(f"{file} is damaged: remove it, and the steps are timed again.")
    return known


def _classification(options) -> tuple[Callable[[], None], int]:
    """A training step, and the number of training images."""
    from mixtransfer.backbones import create_backbone
    from mixtransfer.classification.defaults import resolve
    from mixtransfer.classification.module import Classifier
    from mixtransfer.data.load import load_dataset
    from mixtransfer.data.preprocessing import Preprocessing

    dataset = load_dataset(
        options.data, options.data_root, options.val_fraction, options.test_fraction, options.split_seed
    )
    model = create_backbone(options.backbone, weights="none", num_classes=len(dataset.classes))
    resolved = resolve(options, dataset, model)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    module = Classifier(model, Preprocessing.of(model, options.image_size), resolved).train().to(device)
    size = (options.batch_size, 3, options.image_size, options.image_size)
    images = torch.randint(0, 256, size, dtype=torch.uint8, device=device)
    labels = torch.randint(0, len(dataset.classes), (options.batch_size,), device=device)
    optimizer = module.configure_optimizers()["optimizer"]

    def step() -> None:
        optimizer.zero_grad()
        module.loss(images, labels).backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()

    return step, len(dataset.train)


def _detection(options) -> tuple[Callable[[], None], int]:
    """A training step, and the number of images, which does not matter here."""
    from mixtransfer.detection.model import build_detector

    model = build_detector(options.backbone, "none", 20, options.tap, options.loss).train()
    from detectron2.structures import Boxes, Instances  # after what prepares detectron2

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)
    side = options.image_size
    truth = Instances((side, side), gt_boxes=Boxes([[0, 0, side / 2, side / 2]]), gt_classes=torch.tensor([0]))
    image = torch.randint(0, 256, (3, side, side), dtype=torch.uint8)
    batch = [{"image": image, "instances": truth}] * options.batch_size
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)

    def step() -> None:
        optimizer.zero_grad()
        sum(model(batch).values()).backward()
        optimizer.step()

    return step, 1


def _seconds(step: Callable[[], None]) -> float:
    """The median of some steps."""
    times = []
    for _ in range(2 + STEPS):
        start = time.perf_counter()
        step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])
