"""What `detect train` fills in and refuses of its options, by the data and the start."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from mixtransfer.common.ranges import AT_LEAST_0, AT_LEAST_1, SEED, SHARE, check_ranges
from mixtransfer.data.augment import check_policy
from mixtransfer.data.detection.augment import POLICIES
from mixtransfer.data.detection.dataset import DetectionDataset
from mixtransfer.detection.coverage import anchors_of, best_overlap, fitting_scales, target_shares
from mixtransfer.detection.options import RECIPE_KEYS, TrainOptions
from mixtransfer.detection.spec import FIELDS, LARGEST_MOST, USUAL_SCALES, DetectorSpec, in_words, read_scales
from mixtransfer.detection.starts import Start
from mixtransfer.detection.tiling import as_tiling
from mixtransfer.errors import UserError
from mixtransfer.runs.loggers import logger_names

FEW_IMAGES = 2000  # to train on; a guess between 450, where what few images get was tried, and 118,000
PASSES = 60  # over the images to train on
FEWEST_VIEWS = 8000  # of images in a training; with the more passes the fewer images there are
VIEWS_A_CLASS = 500  # at least: many classes take longer to tell apart
MOST_PASSES = 120  # that many classes make of few images
MOST_ITERATIONS = 20_000

LEARNING_RATES = {"adamw": (1e-3, 8), "sgd": (0.02, 16)}  # for batches of so many images
NEEDED = 0.25  # overlap of some box with some anchor, or the anchors are for other data
WEIGHT_DECAYS = {"adamw": 0.05, "sgd": 4e-5}

Say = Callable[[str], None]


def resolve(options: TrainOptions, dataset: DetectionDataset, start: Start | None, say: Say) -> TrainOptions:
    """Fill in every option left to us, but for what ``with_start`` does."""
    batch = batch_of(options, dataset)
    if options.accumulate > batch:
        raise UserError(
            f"--accumulate is {options.accumulate}; a batch of {batch} images has no more parts than images."
        )
    for_classes = min(VIEWS_A_CLASS * len(dataset.classes), MOST_PASSES * len(dataset.train))
    images = max(PASSES * len(dataset.train), FEWEST_VIEWS, for_classes)
    iterations = options.iterations or int(np.clip(round(images / batch, -2), 100, MOST_ITERATIONS))
    (lr, of_batch), decay = LEARNING_RATES[options.optimizer], WEIGHT_DECAYS[options.optimizer]
    few = options.weights != "none" and len(dataset.train) < FEW_IMAGES
    if few and options.freeze_at is None:
        what = "tiles" if options.tiles else "images"
        say(f"Few {what}: the layers up to stride 4 stay as they are; --freeze-at 0 trains them too.")
    return replace(
        options,
        batch_size=batch,
        iterations=iterations,
        anchors=_anchors(options, dataset, start, say),
        freeze_at=(2 if few else 0) if options.freeze_at is None else options.freeze_at,
        lr=lr * min(1, batch / of_batch) if options.lr is None else options.lr,
        weight_decay=decay if options.weight_decay is None else options.weight_decay,
        warmup=options.warmup if "schedule" in (options.recipe or {}) else min(options.warmup, iterations // 5),
        eval_every=options.eval_every or max(1, math.ceil(iterations / 10)),
    )


def check_backbone(options: TrainOptions) -> None:
    """See to it, without memory, that a detector can be built on the backbone before anything is read or written.

    Raises:
        UserError: It cannot.
    """
    from mixtransfer.detection.ssdlite.backbone import SSDLiteBackbone

    with torch.device("meta"), torch.no_grad():
        SSDLiteBackbone(options.backbone, "none", options.tap if options.tap != "auto" else None, options.image_size)


def batch_of(options: TrainOptions, dataset: DetectionDataset) -> int:
    """Images a step."""
    return options.batch_size or (8 if len(dataset.train) < FEW_IMAGES else 16)


def _anchors(options: TrainOptions, dataset: DetectionDataset, start: Start | None, say: Say) -> str:
    """The scales of the anchors: as asked for, those of a detector to start from, or what fits the boxes."""
    if options.anchors != "auto":
        return options.anchors
    spec = DetectorSpec.of_options(replace(options, anchors=in_words(USUAL_SCALES)))
    boxes = np.concatenate([target_shares(record, spec.square) for record in dataset.train])
    labels = np.concatenate([record.targets[1] for record in dataset.train])
    fitting = fitting_scales(boxes, labels, spec)
    words = in_words(fitting)
    if len(boxes) and best_overlap(boxes, anchors_of(replace(spec, anchors=fitting))).max() < NEEDED:
        say(
            f"Warning: no anchor is as small as the boxes to train on at --image-size {options.image_size}: "
            "take larger images, or --tiles."
        )
    if start is None:
        if words != (usual := in_words(USUAL_SCALES)):
            say(f"Anchors are as the boxes: --anchors {words} (sides by the image's); the usual ones are {usual}.")
        return words
    its = in_words(start.spec.anchors)
    if fitting[0] < start.spec.anchors[0] or len(fitting) > len(start.spec.anchors):
        say(f"Anchors as in {start.name} ({its}); others would fit more of the boxes: --anchors {words}.")
    return its


def check_anchors(options: TrainOptions, dataset: DetectionDataset) -> None:
    spec = DetectorSpec.of_options(options)
    boxes = np.concatenate([target_shares(record, spec.square) for record in dataset.train])
    if len(boxes) and best_overlap(boxes, anchors_of(spec)).max() < NEEDED:
        raise UserError(
            f"--anchors {options.anchors} are of a size that no box to train on has at --image-size "
            f"{options.image_size}: leave it out, and they follow the boxes, or take larger images, or --tiles."
        )


def check(options: TrainOptions) -> None:
    """Check the options, before data and weights are fetched.

    Raises:
        UserError: An option has a value that cannot be.
    """
    as_tiling(options.tiles, options.overlap)
    check_ranges(
        options,
        **dict.fromkeys(("iterations", "batch_size", "eval_every", "devices", "num_nodes"), AT_LEAST_1),
        **dict.fromkeys(
            ("lr", "body_lr", "weight_decay", "warmup", "clip_grad", "patience", "workers", "machine_rank"), AT_LEAST_0
        ),
        freeze_at=(0, 5),
        image_size=(64, 2048),
        accumulate=(1, options.batch_size or math.inf),
        seed=SEED,
        max_detections=(1, LARGEST_MOST),
        **dict.fromkeys(("nms", "min_score", "min_precision"), SHARE),
    )
    if options.anchors != "auto":
        read_scales(options.anchors)
    gpus = torch.cuda.device_count()
    if isinstance(options.devices, int) and 0 < gpus < options.devices:
        raise UserError(f"--devices {options.devices} needs that many GPUs; this machine has {gpus}.")
    if options.num_nodes > 1 and options.dist_url == "auto":
        raise UserError(f"--num-nodes {options.num_nodes} needs --dist-url tcp://HOST:PORT of the first machine.")
    if options.machine_rank >= options.num_nodes:
        raise UserError(f"--machine-rank is {options.machine_rank}; of {options.num_nodes} machines they count from 0.")
    if options.num_nodes > 1 and not (options.output or options.resume):
        raise UserError(f"--num-nodes {options.num_nodes} needs --output, the same on all machines.")
    known = {*RECIPE_KEYS, *(set(FIELDS) - vars(options).keys())}
    if unknown := sorted(set(options.recipe or {}) - known):
        raise UserError(f"The recipe has {unknown[0]!r}, which nothing reads: it may have {', '.join(sorted(known))}.")
    check_policy(options.augment, POLICIES)
    logger_names(options.logger)


def check_recipe(options: TrainOptions, dataset: DetectionDataset) -> None:
    recipe = options.recipe or {}
    classes = recipe.get("num_classes", len(dataset.classes))
    if classes != len(dataset.classes):
        raise UserError(
            f"The recipe's model has {classes} classes, the data {len(dataset.classes)}: set model.num_classes."
        )
    if options.warmup != recipe.get("warmup", options.warmup):
        raise UserError("--warmup is of the usual schedule, and the recipe has its own: leave it out, or change that.")
