"""How many passes over the data fit in a time, by the time that a training step takes here."""

import json
import math
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing
from filelock import FileLock

from mixtransfer.classification.datamodule import batch_of
from mixtransfer.common.device import best_device
from mixtransfer.common.files import write_atomic
from mixtransfer.common.process import prepare_process
from mixtransfer.comparison.workers import ENDED, reason_of, threads_each
from mixtransfer.errors import UserError
from mixtransfer.runs.run_data import training_boxes, training_images

STEPS = 5  # timed, after two that are not
FILE = "budget.json"


def passes_within(
    minutes: float,
    task: str,
    trainings: Mapping[str, Any],
    folder: Path,
    at_once: int,
    shared: Callable[[int], float] = lambda passes: 0.0,
) -> dict[str, int]:
    """The epochs (or iterations) of each backbone that make its trainings last about as long as asked.

    Steps of forward, backward and optimizer on random images are timed, in as many processes as will train at once and
    with their threads; loading is taken to keep up, and fitting the head, evaluating and testing come on top. What was
    found is kept in ``budget.json``, so that every seed, every machine, and a study that goes on, gets the same.

    Args:
        minutes: Of each training.
        task: "classify" or "detect".
        trainings: Options by backbone, resolved as far as the comparison does it.
        folder: The study's.
        at_once: Trainings that run at a time.
        shared: What else a training of some passes has to pay for, in passes over the images to train on: its share of
            choosing a learning rate.

    Raises:
        UserError: Not even one pass fits, or a network cannot be built.
    """
    file = folder / FILE
    with FileLock(folder / f".{FILE}.lock"):
        known = _read(file)
        if missing := {name: options for name, options in trainings.items() if name not in known}:
            for name, (seconds, images, once) in _measured(task, missing, at_once).items():
                steps_a_pass = 1 if task == "detect" else math.ceil(images / batch_of(missing[name]))
                within = minutes * 60 / seconds / steps_a_pass
                passes = int(within)
                while passes and passes + shared(passes) * once / images > within:
                    passes -= 1
                if not passes:
                    unit = "iteration" if task == "detect" else "epoch"
                    raise UserError(
                        f"--budget-minutes {minutes:g} is too short for one {unit} of {name}, which takes "
                        f"{minutes * (1 + shared(1) * once / images) / within:.1f} minutes here."
                    )
                known[name] = {"seconds_per_step": round(seconds, 4), "passes": passes, "at_once": at_once}
            write_atomic(file, json.dumps(known, indent=2) + "\n")
    return {name: known[name]["passes"] for name in trainings}


def _read(file: Path) -> dict[str, dict]:
    try:
        known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        whole = all(type(entry["passes"]) is int and entry["passes"] >= 1 for entry in known.values())
    except (OSError, ValueError, RecursionError, AttributeError, KeyError, TypeError):
        whole = False
    if not whole:
        raise UserError(f"{file} is damaged: remove it, and the steps are timed again.")
    return known


def _measured(task: str, trainings: Mapping[str, Any], at_once: int) -> dict[str, tuple[float, int, int]]:
    """Of each backbone seconds of a training step, the images of an epoch, and those of it without its folds."""
    context = torch.multiprocessing.get_context("spawn")
    results, barrier = context.SimpleQueue(), context.Barrier(at_once)
    args = (threads_each(at_once), task, dict(trainings), results, barrier)
    try:
        torch.multiprocessing.start_processes(_measure_in_child, args, nprocs=at_once, start_method="spawn")
    except ENDED as error:
        raise UserError(reason_of(error)) from error
    found: dict[str, tuple[float, int, int]] = {}
    while not results.empty():
        name, *one = results.get()
        found[name] = max(found.get(name, (0.0, 0, 0)), tuple(one))  # the slowest of them
    if found.keys() != trainings.keys():  # the children were interrupted
        raise KeyboardInterrupt
    return found


def _measure_in_child(_: int, threads: int, task: str, trainings: Mapping[str, Any], results, barrier) -> None:
    """Time the steps of all, while the other processes take the same steps."""
    prepare_process()
    torch.set_num_threads(threads)
    for name, options in trainings.items():
        step, images, once = {"classify": _classification, "detect": _detection}[task](options)
        barrier.wait()
        results.put((name, _seconds(step), images, once))


def _classification(options) -> tuple[Callable[[], None], int, int]:
    """A training step, the number of images that an epoch takes, and of those to train on."""
    from mixtransfer.backbones import create_backbone
    from mixtransfer.classification.defaults import resolve
    from mixtransfer.classification.folds import images_an_epoch
    from mixtransfer.classification.module import ImageClassifier
    from mixtransfer.classification.recipe import Recipe
    from mixtransfer.data.preprocessing import Preprocessing

    dataset = training_images(options, check=False)
    model = create_backbone(
        options.backbone, weights="none", num_classes=len(dataset.classes), image_size=options.image_size
    )
    resolved = resolve(options, dataset, model)
    device = best_device()
    module = ImageClassifier(model, Preprocessing.of(model, options.image_size), Recipe.of(resolved)).train().to(device)
    size = (batch_of(options), 3, options.image_size, options.image_size)
    images = torch.randint(0, 256, size, dtype=torch.uint8, device=device)
    labels = torch.randint(0, len(dataset.classes), size[:1], device=device)
    optimizer = module.recipe.optimizer_for(module.model)

    def step() -> None:
        optimizer.zero_grad()
        module.loss(images, labels).backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()

    return step, images_an_epoch(resolved, dataset), len(dataset.train)


def _detection(options) -> tuple[Callable[[], None], int, int]:
    """A training step, and the numbers of images, which do not matter here."""
    from mixtransfer.detection.model import build_detector

    # After what prepares detectron2.
    from detectron2.structures import Boxes, Instances  # isort: skip

    from mixtransfer.detection.beginning import keep_statistics, make_optimizer, make_trainable
    from mixtransfer.detection.defaults import resolve
    from mixtransfer.detection.spec import DetectorSpec
    from mixtransfer.detection.tile_records import cut

    dataset = training_boxes(options, None)
    seen = cut(options, dataset, _silent)
    resolved = resolve(options, seen, None, _silent)
    model = build_detector(options.backbone, "none", len(dataset.classes), DetectorSpec.of_options(resolved))
    make_trainable(model, resolved)
    device = best_device()
    model.to(device)
    side = options.image_size
    truth = Instances((side, side), gt_boxes=Boxes([[0, 0, side / 2, side / 2]]), gt_classes=torch.tensor([0]))
    image = torch.randint(0, 256, (3, side, side), dtype=torch.uint8)
    assert resolved.batch_size
    batch = [{"image": image, "instances": truth}] * resolved.batch_size
    optimizer = make_optimizer(model, resolved)

    def step() -> None:
        model.train()
        keep_statistics(model.backbone.body, resolved.batch_norm == "frozen")
        optimizer.zero_grad()
        sum(model(batch).values()).backward()
        optimizer.step()

    return step, 1, 1


def _silent(sentence: str) -> None:
    pass


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
