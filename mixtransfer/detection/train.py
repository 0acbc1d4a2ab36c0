"""`detect train`: from options to a Run, by detectron2's training loop."""

import json
import math
import os
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from mixtransfer.backbones.registry import backbone_spec
from mixtransfer.data.detection.augment import POLICIES
from mixtransfer.data.detection.dataset import DetectionDataset
from mixtransfer.data.detection.load import load_detection_dataset
from mixtransfer.data.images import tell_skipped
from mixtransfer.detection.compat import describe_detectron2, prepare_detectron2
from mixtransfer.detection.coverage import anchor_coverage
from mixtransfer.detection.inference import detect
from mixtransfer.detection.model import detector_card, open_detector
from mixtransfer.detection.options import TrainOptions
from mixtransfer.detection.scores import coco_results, coco_scores
from mixtransfer.device import keep_freed_memory
from mixtransfer.errors import Interrupted, UserError
from mixtransfer.files import write_atomic
from mixtransfer.run import Run, new_folder, reopen

# What a resumed run may do otherwise than its own configuration says: the machine may be another one.
MACHINE_OPTIONS = ("data_root", "workers", "devices", "num_nodes", "machine_rank", "dist_url", "precision")

LEARNING_RATES = {"adamw": 1e-3, "sgd": 0.02}  # for batches of 16
WEIGHT_DECAYS = {"adamw": 0.05, "sgd": 4e-5}

Say = Callable[[str], None]


def train(options: TrainOptions, say: Say = print) -> Run:
    """Train a detector as ``options`` say and return the finished run.

    Raises:
        UserError: An option or the data cannot be used, or detectron2 is missing.
        Interrupted: Ctrl-C; what is needed to resume has been written.
    """
    keep_freed_memory()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    prepare_detectron2()
    run = None
    if options.resume:
        run, options = reopen(options, MACHINE_OPTIONS)
        if "test" in run.read_metrics():
            say(f"{run.folder} is finished already.")
            return run
    elif options.data is None:
        raise UserError("Say what to train on: mixtransfer detect train DATA (a folder, a JSON file or coco).")
    _check(options)
    dataset = load_detection_dataset(
        options.data, options.data_root, options.val_fraction, options.test_fraction, options.split_seed
    )
    _describe(dataset, say)
    options = resolve(options, dataset)
    if run is None:
        backbone = backbone_spec(options.backbone)
        run = Run.create(new_folder(options), options)
        detector_card(
            backbone, options.tap, options.loss, options.image_size, dataset.classes, dataset.category_ids
        ).write(run.model)
    say(f"Training {options.backbone} for {options.iterations} iterations of {options.batch_size} images.")
    try:
        _launch(run, options, dataset)
    except KeyboardInterrupt as stop:
        raise Interrupted(f"Interrupted. Go on with: mixtransfer detect train --resume {run.folder}") from stop
    return _finish(run, options, dataset)


def resolve(options: TrainOptions, dataset: DetectionDataset) -> TrainOptions:
    """Fill in every option left to us."""
    passes = 60 * len(dataset.train) / options.batch_size
    iterations = options.iterations or int(np.clip(round(passes, -2), 500, 20_000))
    lr, decay = LEARNING_RATES[options.optimizer], WEIGHT_DECAYS[options.optimizer]
    return replace(
        options,
        iterations=iterations,
        lr=lr * min(1, options.batch_size / 16) if options.lr is None else options.lr,
        weight_decay=decay if options.weight_decay is None else options.weight_decay,
        warmup=min(options.warmup, iterations // 5),
        eval_every=options.eval_every or max(1, math.ceil(iterations / 10)),
    )


def _check(options: TrainOptions) -> None:
    for name in ("iterations", "batch_size", "eval_every"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} is {value}; it must be at least 1.")
    if not 64 <= options.image_size <= 2048:
        raise UserError(f"--image-size is {options.image_size}; it must lie between 64 and 2048.")
    if options.augment not in POLICIES:
        raise UserError(f"--augment {options.augment!r} is not one of {', '.join(POLICIES)}.")


def _launch(run: Run, options: TrainOptions, dataset: DetectionDataset) -> None:
    """Train in one process, or in one for each GPU of all machines."""
    from mixtransfer.detection.loop import train_in_process

    devices = max(1, torch.cuda.device_count()) if options.devices == "auto" else options.devices
    if devices * options.num_nodes == 1:
        train_in_process(run, options, dataset)
        return
    if not torch.cuda.is_available():
        raise UserError(f"--devices {devices} needs that many GPUs: on the CPU detectron2 trains in one process.")
    from detectron2.engine import launch

    launch(
        train_in_process, devices, options.num_nodes, options.machine_rank, options.dist_url,
        args=(run, options, dataset),
    )  # fmt: skip


def _finish(run: Run, options: TrainOptions, dataset: DetectionDataset) -> Run:
    """Score the best weights on the test part, once, and write what came of it."""
    from mixtransfer.detection.loop import read_history
    from mixtransfer.detection.report import write_report

    trained = open_detector(run.folder)
    model = trained.model.to("cuda" if torch.cuda.is_available() else "cpu")
    scores, found = {}, {}
    for part, records in (("validation", dataset.val), ("test", dataset.test)):
        found[part] = detect(model, records, trained.size, options.batch_size, options.workers)
        scores[part] = coco_scores(records, found[part], dataset.classes, dataset.category_ids)
    coverage = anchor_coverage(model, dataset.train, trained.size)
    write_report(run, options, dataset, found["test"], scores["test"], read_history(run), coverage)
    write_atomic(run.test_detections, json.dumps(coco_results(found["test"], dataset.category_ids)))
    run.write_metrics(**{part: score.to_dict() for part, score in scores.items()})
    return run


def _describe(dataset: DetectionDataset, say: Say) -> None:
    tell_skipped(dataset.skipped, say)
    for note in dataset.notes:
        say(note)
    say(
        f"{dataset.name}: {len(dataset.classes)} classes, {len(dataset.train)} images to train on, "
        f"{len(dataset.val)} to validate, {len(dataset.test)} to test; detectron2 {describe_detectron2()}."
    )
