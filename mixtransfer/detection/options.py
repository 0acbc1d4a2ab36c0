"""The options of the `detect` verbs: their interface, their help and what config.yaml records."""

from dataclasses import dataclass, field
from typing import Any, Literal

from mixtransfer.data.detection import LayoutName, Resize
from mixtransfer.detection.spec import DetectorSpec, LossName, Tap

# What ``TrainOptions.recipe`` may say beside the fields of ``DetectorSpec`` that are no options: the number of classes,
# further arguments of the optimizer, whether norms and biases decay too, and the schedule with its warm-up.
RECIPE_KEYS = ("num_classes", "optimizer", "norm_decay", "schedule", "warmup")


@dataclass
class TrainOptions:
    """Train an SSDLite detector on images with boxes.

    The weights that do best on the validation part are kept; a test part, if the data has one, is looked at once, at
    the end. A --config that ends in .py is a detectron2 recipe: a program, which is run; take none from strangers.

    Args:
        data: Images with boxes: a folder in a usual layout, its file, or coco.
        layout: Of the data, where it could be read in two ways.
        backbone: A name (`mixtransfer models`, timm) or file; auto: of the start.
        weights: imagenet, none, a file, or a detector: a run, coco, a file.
        output: The run's folder; by default a new one under runs/.
        resume: A run to go on with; it brings its own configuration.
        preview: Write a page of the first batches, and stop.
        data_root: Where coco lives.
        iterations: Optimizer steps; by default by the size of the training set.
        batch_size: Images a step, over all devices; by default 8, of many images 16.
        accumulate: Parts that a step is computed in, for less memory.
        image_size: Side of the square that the network sees, in pixels.
        resize: warp fills the square; letterbox keeps the image's shape.
        tap: Map at stride 16: expanded (as torchvision), stage, or auto.
        loss: cross_entropy with hard negatives, or focal.
        anchors: Finest (, second), coarsest scale: 0.2,0.95; auto: by the boxes.
        body_lr: The body's learning rate as a share of the other layers'.
        batch_norm: Of the body: train updates its statistics, frozen keeps them.
        freeze_at: Keep the body's layers up to stride 2^N; by default by the data.
        lr: Peak learning rate; by default by the optimizer.
        optimizer: Optimizer.
        weight_decay: Weight decay (decoupled for adamw); norms and biases have none.
        warmup: Iterations of linear warm-up before the cosine decay.
        augment: none, crop (writing), crop-flip, standard, or a YAML file.
        ema: Evaluate and keep an exponential moving average of the weights.
        clip_grad: Largest norm of the gradient; 0 turns clipping off.
        eval_every: Iterations between evaluations; by default a tenth of all.
        patience: Stop after so many evaluations without a better AP; 0: never.
        max_detections: Detections an image has at most; all of them are scored.
        nms: IoU from which on the worse of two detections is dropped.
        class_agnostic: Drop it whatever the classes of the two are.
        min_score: Smallest score that counts, in evaluation.
        min_precision: Of the score thresholds, as 0.9; by default they have the best F1.
        tiles: Train on tiles of this side in pixels too, where images are larger.
        overlap: Share of a tile that the next one shows too; by default 0.2.
        val_fraction: About this share validates, if the data has no such part.
        test_fraction: About this share is tested, if the data is whole.
        split_seed: Seed of these splits, not the training's: runs share a test part.
        group_by: A pattern (regex); images whose paths match alike stay together.
        seed: Seed of the initialization, the order and the augmentation.
        workers: Image-loading processes; by default by the machine.
        precision: Bits: 32, bf16, 16, or auto: bf16 where a GPU has it, else 32.
        devices: GPUs to use (or processes, on the CPU); auto takes all.
        num_nodes: Machines to use, each of which runs the command.
        machine_rank: Number of this machine, from 0.
        dist_url: Where the machines meet, as tcp://HOST:PORT.
        logger: tensorboard, csv, wandb, mlflow, comet, with commas between.
        recipe: What a recipe in Python says that is no option: see ``RECIPE_KEYS``.
    """

    data: str | None = None
    layout: LayoutName = "auto"
    backbone: str = "auto"
    weights: str = "imagenet"
    output: str | None = None
    resume: str | None = None
    preview: bool = False
    data_root: str = "data"
    iterations: int | None = None
    batch_size: int | None = None
    accumulate: int = 1
    image_size: int = DetectorSpec.image_size
    resize: Resize = DetectorSpec.resize
    tap: Tap = DetectorSpec.tap
    loss: LossName = DetectorSpec.loss
    anchors: str = "auto"
    body_lr: float = 1.0
    batch_norm: Literal["train", "frozen"] = "train"
    freeze_at: int | None = None
    lr: float | None = None
    optimizer: Literal["adamw", "sgd"] = "adamw"
    weight_decay: float | None = None
    warmup: int = 100
    augment: str = "standard"
    ema: bool = True
    clip_grad: float = 5.0
    eval_every: int | None = None
    patience: int = 0
    max_detections: int = DetectorSpec.max_detections
    nms: float = DetectorSpec.nms
    class_agnostic: bool = DetectorSpec.class_agnostic
    min_score: float = DetectorSpec.min_score
    min_precision: float | None = None
    tiles: int | None = DetectorSpec.tiles
    overlap: float | None = DetectorSpec.overlap
    val_fraction: float = 0.1
    test_fraction: float = 0.2
    split_seed: int = 0
    group_by: str | None = None
    seed: int = 0
    workers: int | None = None
    precision: Literal["auto", "32", "bf16", "16"] = "auto"
    devices: int | Literal["auto"] = "auto"
    num_nodes: int = 1
    machine_rank: int = 0
    dist_url: str = "auto"
    logger: str | None = None
    recipe: dict[str, Any] | None = field(default=None, metadata={"hidden": True})


@dataclass
class EvaluateOptions:
    """Score a run's detector on images with boxes: COCO's average precision, per class and by size, precision and
    recall from each class's score threshold on, and kinds of mistakes.

    Args:
        run: The run.
        data: A dataset as `detect train` takes it; by default what the run was trained on.
        layout: How that dataset is laid out, where it could be read in two ways.
        split: The part to score; new are the images that came after the training.
        max_detections: Detections an image has at most; by default as in training.
        nms: Overlap (IoU) from which on the worse of two is dropped; by default as in training.
        class_agnostic: Drop it whatever the classes of the two are; by default as in training.
        min_score: Smallest score that counts; by default as in training.
        classes: Names of the classes to score, with commas between; by default all.
        tiles: Cut larger images into tiles of this side in pixels; by default as in training, 0 not at all.
        overlap: Share of a tile that the next one shows too; by default as in training, else 0.2.
        data_root: Where coco lives; by default as in training.
        batch_size: Images, or tiles, at a time.
        workers: Image-loading processes; by default by the machine.
        device: cpu, cuda or cuda:1; auto takes a GPU where there is one.
        json: Print the scores as JSON.
    """

    run: str
    data: str | None = None
    layout: LayoutName = "auto"
    split: Literal["test", "val", "train", "new"] = "test"
    max_detections: int | None = None
    nms: float | None = None
    class_agnostic: bool | None = None
    min_score: float | None = None
    classes: str | None = None
    tiles: int | None = None
    overlap: float | None = None
    data_root: str | None = None
    batch_size: int = 16
    workers: int | None = None
    device: str = "auto"
    json: bool = False


@dataclass
class PredictOptions:
    """Find objects with a run's detector, in images and videos.

    Args:
        run: The run, or a file that `mixtransfer export` wrote.
        images: Image files, folders, glob patterns, or video files.
        output: Folder for copies of the images and videos with the boxes drawn, and for detections.json, which is what
            was found in COCO's format.
        threshold: The smallest score to show; by default each class's own, chosen on validation images.
        max_detections: Objects an image has at most; by default as in training or in the exported file.
        nms: Overlap (IoU) from which on the worse of two is dropped; by default as in training.
        class_agnostic: Drop it whatever the classes of the two are; by default as in training.
        classes: Names of the classes to find, with commas between; by default all.
        tiles: Cut larger images into tiles of this side in pixels, for small objects; by default as in training, 0 not
            at all.
        overlap: Share of a tile that the next one shows too; by default as in training, else 0.2.
        stride: Of a video every so manieth frame is looked at.
        explain: A folder for pictures of the images that show where the class of each box was read from (of runs
            alone).
        format: table for people; json gives one image a line; coco, yolo, voc or labelstudio also writes the images and
            what was found in that layout to a folder of that name in --output, to correct and to train on.
        json: Print as --format json does, whatever --format is.
        batch_size: Images, or tiles, at a time.
        workers: Image-loading threads; by default by the machine.
        device: cpu, cuda or cuda:1; auto takes a GPU where there is one. Exported files know
            what their runtime calls its own, such as directml or coreml.
    """

    run: str
    images: list[str]
    output: str | None = None
    threshold: float | None = None
    max_detections: int | None = None
    nms: float | None = None
    class_agnostic: bool | None = None
    classes: str | None = None
    tiles: int | None = None
    overlap: float | None = None
    stride: int = 1
    explain: str | None = None
    format: Literal["table", "json", "coco", "yolo", "voc", "labelstudio"] = "table"
    json: bool = False
    batch_size: int = 8
    workers: int | None = None
    device: str = "auto"


@dataclass
class DemoOptions:
    """Train a detector of handwritten digits on photographs, both from scikit-learn, and draw what it finds.

    Args:
        output: The run's folder; by default a new one under runs/.
        data_root: Where the images are made.
        backbone: A name from `mixtransfer models`.
        weights: Where to start: imagenet, none or a file; those of efficientnet_lite0 come with the extra lite0.
        iterations: Optimizer steps.
        images: Number of images to make for training.
        seed: Seed of images and training.
    """

    output: str | None = None
    data_root: str = "data"
    backbone: str = "efficientnet_lite0"
    weights: str = "imagenet"
    iterations: int = 450
    images: int = 800
    seed: int = 0
