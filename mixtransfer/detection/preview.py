"""`--preview`: a page of what a detector would be trained on, boxes drawn."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from mixtransfer.common.messages import tell
from mixtransfer.data.detection.augment import as_detection_augment
from mixtransfer.data.detection.dataset import Record
from mixtransfer.data.detection.square import Square
from mixtransfer.data.own_augment import kept_pipeline
from mixtransfer.detection.defaults import batch_of, check
from mixtransfer.detection.drawing import draw_truth
from mixtransfer.detection.loader import IterationBatches
from mixtransfer.detection.mapper import EvaluationMapper, TrainingMapper, to_dataset_dict
from mixtransfer.detection.options import TrainOptions
from mixtransfer.detection.tile_records import cut
from mixtransfer.detection.train import MACHINE_OPTIONS
from mixtransfer.report.preview import BATCHES, IMAGES, preview_path, write_page
from mixtransfer.runs.run import reopen
from mixtransfer.runs.run_data import training_boxes


def write_preview(options: TrainOptions, path: Path | None = None, say: Callable[[str], None] = tell) -> Path:
    """Write the first batches of a training as its network would see them, without training anything.

    Args:
        path: Of the page; by default beside the run's folder.
        say: Where sentences for the user go.

    Raises:
        UserError: An option or the data cannot be used.
    """
    run = None
    if options.resume:
        run, options = reopen(options, MACHINE_OPTIONS)
    check(options)
    dataset = training_boxes(options, run)
    say(dataset.reading)
    dataset = cut(options, dataset, say)
    augment = kept_pipeline(run.augment, options.augment) if run else options.augment
    mapper = TrainingMapper(as_detection_augment(augment, options.image_size, options.resize))
    drawn = []
    size = batch_of(options, dataset)
    for batch in islice(IterationBatches(len(dataset.train), size, options.seed), BATCHES):
        views = [mapper.view(to_dataset_dict(dataset.train[index]), seed) for index, seed in batch[:IMAGES]]
        drawn.append([_drawn(view, view["boxes"], view["labels"], dataset.classes) for view in views])
    whole = EvaluationMapper(options.image_size, options.resize)
    evaluated = [
        _drawn(whole(to_dataset_dict(record)), *_targets(record, whole.square), dataset.classes)
        for record in dataset.val[:IMAGES]
    ]
    how = f"At {options.image_size} pixels, augmentation {options.augment!r}, batches of {size}."
    path = path or preview_path(options)
    write_page(path, dataset.name, [dataset.reading, *dataset.notes], drawn, evaluated, how)
    return path


def _targets(record: Record, square: Square) -> tuple[np.ndarray, np.ndarray]:
    """Boxes in the pixels of a square view of the whole image, and labels."""
    boxes, labels = record.targets
    return square.into(boxes, record.width, record.height), labels


def _drawn(view: dict, boxes: np.ndarray, labels: np.ndarray, classes: list[str]) -> tuple[np.ndarray, str]:
    picture = Image.fromarray(np.ascontiguousarray(view["image"].permute(1, 2, 0).numpy()))
    count = f"{len(boxes)} box{'es' * (len(boxes) != 1)}"
    return np.asarray(draw_truth(picture, boxes, labels, classes)), f"{Path(view['file_name']).name}, {count}"
