"""`detect train`: from options to a Run, by detectron2's training loop."""

import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger

from mixtransfer.backbones.registry import backbone_spec
from mixtransfer.backbones.weights import describe_start, tell_license
from mixtransfer.common.device import best_device
from mixtransfer.common.files import claimed, write_atomic
from mixtransfer.common.messages import tell
from mixtransfer.common.signals import interruptible
from mixtransfer.data.detection.augment import POLICIES
from mixtransfer.data.detection.dataset import DetectionDataset, Record, statistics
from mixtransfer.data.division import counted
from mixtransfer.data.images import tell_skipped
from mixtransfer.data.names import settled
from mixtransfer.data.own_augment import OBJECT, keep_pipeline, read_pipeline
from mixtransfer.data.quick_checks import warn
from mixtransfer.data.split_file import Split
from mixtransfer.detection.assessment import assess, matched
from mixtransfer.detection.compat import describe_detectron2, one_at_a_time, prepare_detectron2
from mixtransfer.detection.coverage import anchor_coverage
from mixtransfer.detection.defaults import check, check_anchors, check_backbone, check_recipe, resolve
from mixtransfer.detection.inference import detect
from mixtransfer.detection.machines import train_on_devices
from mixtransfer.detection.model import detector_card, keep_thresholds, open_detector
from mixtransfer.detection.options import TrainOptions
from mixtransfer.detection.scores import coco_results, coco_scores
from mixtransfer.detection.spec import USUAL_SCALES, DetectorSpec, in_words
from mixtransfer.detection.starts import find_start, with_start
from mixtransfer.detection.thresholds import choose, of_each
from mixtransfer.detection.tile_records import cut
from mixtransfer.errors import UserError
from mixtransfer.runs.loggers import log_results, open_loggers
from mixtransfer.runs.run import Run, new_folder, reopen
from mixtransfer.runs.run_data import training_boxes

# What a resumed run may do otherwise than its own configuration says: the machine may be another one.
MACHINE_OPTIONS = ("data_root", "workers", "devices", "num_nodes", "machine_rank", "dist_url", "precision", "logger")

Say = Callable[[str], None]


def train(
    options: TrainOptions,
    say: Say = tell,
    split: Split | None = None,
    augment: Any = None,
    hooks: Sequence[Any] = (),
    loggers: Sequence[Logger] = (),
) -> Run | None:
    """Train a detector as ``options`` say and return the finished run; None on all machines but the first.

    Args:
        say: Where sentences for the user go.
        split: The parts of a new training, if they are settled.
        augment: An object in the place of what the options say; see ``as_detection_augment``.
        hooks: Of detectron2, beside our own.
        loggers: Of Lightning, beside those that the options name.

    Raises:
        UserError: An option or the data cannot be used, or detectron2 is missing.
        Interrupted: Ctrl-C; what is needed to resume has been written.
    """
    with one_at_a_time(say), contextlib.ExitStack() as claims:
        return _train(options, say, split, claims, augment, hooks, loggers)


def _train(
    options: TrainOptions,
    say: Say,
    split: Split | None,
    claims: contextlib.ExitStack,
    augment: Any,
    hooks: Sequence[Any],
    loggers: Sequence[Logger],
) -> Run | None:
    prepare_detectron2()
    run = None
    if options.resume and options.machine_rank and not Run.is_run(options.resume):
        raise UserError(
            f"This machine has no run {options.resume}: give it the training's first command, with --output and "
            "without --resume; it takes the state from the first machine."
        )
    if options.resume:
        run, options = reopen(options, MACHINE_OPTIONS)
        if not options.machine_rank:
            claims.enter_context(claimed(run.folder))
        recorded = run.read_config()  # an older one had no choice
        if "anchors" not in recorded:
            options = replace(options, anchors=in_words(USUAL_SCALES))
        if "freeze_at" not in recorded:
            options = replace(options, freeze_at=0)
        if "test" in run.read_metrics():
            say(f"{run.folder} is finished already.")
            return run
    elif options.data is None:
        raise UserError("Say what to train on: mixtransfer detect train DATA (a folder, a JSON file or coco).")
    if augment is not None:
        options = replace(options, augment=OBJECT)
    check(options)
    if not run and options.augment not in (*POLICIES, OBJECT):
        read_pipeline(Path(options.augment))  # before there is a folder
    options = replace(options, data=settled(str(options.data), ("coco",)))
    start = find_start(options.weights) if run is None or not run.checkpoint.exists() else None
    if run is None:
        options = with_start(options, start)
        check_backbone(options)
    dataset = training_boxes(options, run, split)
    _describe(dataset, options.max_detections, say)
    check_recipe(options, dataset)
    seen = cut(options, dataset, say)
    if run is None and options.anchors != "auto":
        check_anchors(options, seen)
    options = resolve(options, seen, start, say)
    if run is None and options.machine_rank:
        run = Run(new_folder(options))  # the first machine writes it
    elif run is None:
        folder = new_folder(options)
        claims.enter_context(claimed(folder))
        run = Run.create(folder, options)
        keep_pipeline(options.augment if augment is None else augment, run.augment)
    if not options.machine_rank and not run.split.exists():
        dataset.split().write(run.split)
    if not options.machine_rank and not run.model.exists():
        backbone = backbone_spec(options.backbone)
        described = start.describe() if start else describe_start(backbone, options.weights)
        tell_license(described, say)
        spec = DetectorSpec.of_options(options)
        detector_card(backbone, spec, dataset.classes, dataset.category_ids, described).write(run.model)
    say(f"Training {options.backbone} for {options.iterations} iterations of {options.batch_size} images.")
    with interruptible(lambda: f"Go on with: mixtransfer detect train --resume {run.folder}"):
        loggers = [] if options.machine_rank else [*loggers, *open_loggers(options.logger, run.folder, claims)]
        train_on_devices(run, options, seen, loggers, augment, hooks)
        return None if options.machine_rank else _finish(run, options, dataset, seen.train, loggers, say)


def _finish(
    run: Run, options: TrainOptions, dataset: DetectionDataset, seen: list[Record], loggers: Sequence[Logger], say: Say
) -> Run:
    """Choose the thresholds on the validation part, score the best weights on the test part, once, and write it all.

    Args:
        seen: What was trained on.
    """
    from mixtransfer.detection.report import write_report

    trained = open_detector(run.folder)
    model = trained.model.to(best_device())
    names = dataset.classes, dataset.category_ids
    assert options.batch_size
    how = trained.spec.square, options.batch_size, options.workers
    validated, found = (
        detect(model, records, *how, tiling=trained.spec.tiling) for records in (dataset.val, dataset.test)
    )
    thresholds = choose(matched(dataset.val, validated, *names), dataset.classes, options.min_precision, say)
    keep_thresholds(run, thresholds)
    test = assess(dataset.test, found, *names, of_each(thresholds, dataset.classes))
    coverage = anchor_coverage(model, seen, trained.spec.square)
    write_report(run, options, dataset, test, run.read_history(), coverage)
    write_atomic(run.test_detections, json.dumps(coco_results(found, dataset.category_ids)))
    values = {name: value for name, value in test.scores.ap.items() if value is not None}
    log_results(loggers, values, run.figures, options.iterations or 0)
    run.write_metrics(validation=coco_scores(dataset.val, validated, *names).to_dict(), test=test.to_dict())
    return run


def _describe(dataset: DetectionDataset, most: int, say: Say) -> None:
    say(dataset.reading)
    tell_skipped(dataset.skipped, say)
    for note in dataset.notes:
        say(note)
    say(
        f"{dataset.name}: {len(dataset.classes)} classes, {len(dataset.train)} images to train on, "
        f"{len(dataset.val)} to validate, {len(dataset.test)} to test; detectron2 {describe_detectron2()}."
    )
    crowded = [r for r in (*dataset.train, *dataset.val, *dataset.test) if len(r.targets[1]) > most]
    if crowded:
        largest = max(crowded, key=lambda record: len(record.targets[1]))
        say(
            f"Warning: {counted(len(crowded))} with more than {most} boxes ({largest.file.name}: "
            f"{len(largest.targets[1])}), of which only {most} can be found: ask for more by --max-detections."
        )
    counts = statistics(dataset.train, dataset.classes)["boxes_per_class"]
    warn(counts, [r.file for r in dataset.train], [r.file for r in dataset.test], say, "boxes")
