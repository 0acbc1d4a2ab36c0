"""`detect evaluate`: the scores of a Run's detector on images with boxes."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from mixtransfer.common.device import choose_device
from mixtransfer.common.messages import remark
from mixtransfer.common.ranges import AT_LEAST_0, AT_LEAST_1, SHARE, check_ranges
from mixtransfer.data.detection.dataset import DetectionDataset, Record
from mixtransfer.data.detection.load import load_detection_dataset
from mixtransfer.data.names import same_data
from mixtransfer.detection.assessment import Assessment, assess
from mixtransfer.detection.inference import detect
from mixtransfer.detection.model import TrainedDetector, open_detector
from mixtransfer.detection.options import EvaluateOptions, TrainOptions
from mixtransfer.detection.spec import LARGEST_MOST
from mixtransfer.detection.thresholds import USUAL, of_each
from mixtransfer.detection.tiling import as_tiling
from mixtransfer.errors import UserError
from mixtransfer.runs.run import Run
from mixtransfer.runs.run_data import boxes_of_run, read_split, tell_seen


def evaluate(options: EvaluateOptions) -> Assessment:
    """Score a run's detector.

    Raises:
        UserError: The run or the data cannot be used, or the data has a class that the detector does not know.
    """
    check_ranges(options, batch_size=AT_LEAST_1, workers=AT_LEAST_0, max_detections=(1, LARGEST_MOST))
    check_ranges(options, nms=SHARE, min_score=SHARE)
    trained = open_detector(options.run).finding(
        options.classes,
        min_score=options.min_score,
        max_detections=options.max_detections,
        nms=options.nms,
        class_agnostic=options.class_agnostic,
    )
    tiling = as_tiling(options.tiles, options.overlap, trained.spec.tiling)
    run = Run.open(options.run)
    dataset = _dataset(options, run)
    for note in dataset.notes:
        remark(note)
    records = with_labels_of(dataset.parts[options.split], dataset, trained)
    if options.data is not None and not same_data(options.data, str(run.read_config().get("data"))):
        tell_seen(run, [record.file for record in records], "", remark)
    if not records:
        raise UserError(f"{dataset.name} has no {options.split} images to score: choose another --split.")
    model = trained.model.to(choose_device(options.device))
    if model.only is not None:
        records = [record.of(model.only) for record in records]
    if tiling and options.tiles is None:
        remark(f"By {tiling}, as in training (--tiles 0 is without).")
    found = detect(model, records, trained.spec.square, options.batch_size, options.workers, tiling=tiling)
    if trained.spec.thresholds is None:
        remark(f"{options.run} keeps no score thresholds: precision and recall are those from a score of {USUAL} on.")
    thresholds = of_each(trained.spec.thresholds, trained.classes)
    return assess(records, found, trained.classes, trained.category_ids, thresholds)


def _dataset(options: EvaluateOptions, run: Run) -> DetectionDataset:
    """The data to score on: the run's own in its own parts, or other data in those that it has or that are drawn."""
    recorded = run.options(TrainOptions)
    if options.data is None or (run.split.exists() and same_data(options.data, str(recorded.data))):
        return boxes_of_run(run, options.data_root, options.split)
    root = options.data_root or recorded.data_root
    draw = recorded.val_fraction, recorded.test_fraction, recorded.split_seed
    dataset = load_detection_dataset(options.data, root, *draw, layout=options.layout)
    found = dataset.found
    if (
        found
        and found.files
        and set(found.given) == {"all"}
        and run.split.exists()
        and any(read_split(run).known(found.files))
    ):
        # The run's own images in another place, which is not split: in the run's parts.
        return load_detection_dataset(options.data, root, layout=options.layout, split=read_split(run))
    return dataset


def with_labels_of(records: list[Record], dataset: DetectionDataset, trained: TrainedDetector) -> list[Record]:
    """The same boxes, labelled in the detector's order of classes.

    Raises:
        UserError: A box is of a class that the detector does not know.
    """
    if dataset.classes == trained.classes:
        return records
    used = {dataset.classes[label] for record in records for label in np.unique(record.labels)}
    if unknown := sorted(used - set(trained.classes)):
        raise UserError(f"The detector does not know the class {unknown[0]!r} of {Path(dataset.name)}.")
    known = {name: label for label, name in enumerate(trained.classes)}
    order = np.array([known.get(name, -1) for name in dataset.classes])
    return [replace(record, labels=order[record.labels]) for record in records]
