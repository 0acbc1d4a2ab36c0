"""The options of the `classify` verbs: their interface, their help and what config.yaml records."""

from dataclasses import dataclass
from typing import Literal, Protocol

from mixtransfer.data import FolderLayout

# What a resumed run may do otherwise than its own configuration says: the machine may be another one.
MACHINE_OPTIONS = ("data_root", "workers", "devices", "num_nodes", "precision", "logger")


class HardwareOptions(Protocol):
    """The options that say what to run on."""

    precision: Literal["auto", "32", "bf16", "16"]
    devices: int | Literal["auto"]
    num_nodes: int


@dataclass
class TrainOptions:
    """Fine-tune a backbone on labelled images.

    A linear head on frozen features first, then the whole network; images not trained on decide what is kept.

    Args:
        data: A folder, a CSV manifest, or cifar10, cifar100, pets, food101, digits.
        backbone: A name of `mixtransfer models` or timm, or a backbone file.
        weights: Start: imagenet (published), none (from scratch), or a file.
        output: The run's folder; by default a new one under runs/.
        resume: An interrupted run to go on with, by its own configuration.
        preview: Write a page of the first batches, and stop.
        data_root: Where named datasets live, or are downloaded to.
        epochs: Passes; by default 5 to 32, or 30 from scratch; 0: the head alone.
        batch_size: Images a step and device; auto finds the largest that a GPU holds.
        image_size: Side of the input in pixels; by default that of the weights' training, or 8/7 of it where
            cross-validation on frozen features prefers that.
        lr: Peak learning rate of the head, by default by data; find: a range test.
        optimizer: Optimizer.
        loss: auto: cross_entropy; of several labels bce, focal, asymmetric.
        weight_decay: Weight decay (decoupled for adamw).
        layer_decay: A layer's rate as a share of the next one's; by default 0.7, 0.8 or 1.
        warmup_epochs: Epochs of linear warm-up before the cosine decay.
        fit_head: Fit the head on frozen features first; by default if there are weights.
        batch_norm: frozen keeps batch norm's statistics, train updates them; auto freezes them when fine-tuning
            on fewer than 5,000 images.
        augment: none, crop (writing, digits), crop-flip (the paper's), standard, strong, or albumentations' YAML.
        min_crop: The smallest share of an image's area that a random crop keeps.
        label_smoothing: Probability spread over all classes in the targets.
        mixup: Strength (alpha) of mixup; by default 0 (off), or 0.2 for some hundred to 5,000 images.
        cutmix: Strength (alpha) of cutmix; by default 0 (off), or 1 where mixup is on.
        dropout: Dropout before the head.
        teacher: A run or a backbone from whose answers is learnt too.
        teacher_weight: The teacher's share of the loss.
        unlabelled: A folder of images without labels to learn from too.
        class_weights: balanced weighs images of rare classes more, none does not.
        ema: Evaluate and keep an exponential moving average of the weights.
        clip_grad: Largest norm of the gradient; 0 turns clipping off.
        patience: Stop after so many epochs without a better validation result, and keep the best; 0: never.
        val_fraction: About this share of each class validates, if the data has no val.
        test_fraction: About this share of each class is tested, if the data is whole.
        split_seed: Seed of these splits, not the training's: runs share a test set.
        group_by: Images whose paths this regular expression matches alike stay together.
        fold: Test on this part of data that is not split, such as 2/5.
        layout: How a folder is read: parts, then classes (split), or classes at the top (class) or below (nested).
        seed: Seed of the initialization, the order and the augmentation.
        workers: Image-loading processes; by default by the machine.
        precision: Bits: 32, bf16, 16, or auto: bf16 where a GPU has it, else 32.
        devices: GPUs to use (or processes, on the CPU).
        num_nodes: Machines to use.
        logger: tensorboard, csv, wandb, mlflow, comet, with commas between.
    """

    data: str | None = None
    backbone: str = "mixnet_s"
    weights: str = "imagenet"
    output: str | None = None
    resume: str | None = None
    preview: bool = False
    data_root: str = "data"
    epochs: int | None = None
    batch_size: int | Literal["auto"] = 32
    image_size: int | None = None
    lr: float | Literal["find"] | None = None
    optimizer: Literal["adamw", "sgd"] = "adamw"
    loss: Literal["auto", "cross_entropy", "bce", "focal", "asymmetric"] = "auto"
    weight_decay: float = 0.05
    layer_decay: float | None = None
    warmup_epochs: float = 1.0
    fit_head: bool | None = None
    batch_norm: Literal["auto", "frozen", "train"] = "auto"
    augment: str = "standard"
    min_crop: float = 0.3
    label_smoothing: float = 0.1
    mixup: float | None = None
    cutmix: float | None = None
    dropout: float = 0.0
    teacher: str | None = None
    teacher_weight: float = 0.5
    unlabelled: str | None = None
    class_weights: Literal["none", "balanced"] = "none"
    ema: bool = True
    clip_grad: float = 1.0
    patience: int = 0
    val_fraction: float = 0.1
    test_fraction: float = 0.2
    split_seed: int = 0
    group_by: str | None = None
    fold: str | None = None
    layout: FolderLayout = "auto"
    seed: int = 0
    workers: int | None = None
    precision: Literal["auto", "32", "bf16", "16"] = "auto"
    devices: int | Literal["auto"] = "auto"
    num_nodes: int = 1
    logger: str | None = None


@dataclass
class EvaluateOptions:
    """Score a run's model on labelled images, each score with its 95 % interval.

    Args:
        run: The run.
        data: An image folder, a CSV manifest or a dataset's name; by default what the run was trained on.
        split: The part to score; by default the test part, or all images of DATA that is not split. new takes those
            that came after the training; all takes every image, in whatever part.
        layout: See `classify train`, of DATA.
        data_root: Where named datasets live; by default as in training.
        batch_size: Images at a time and device.
        workers: Image-loading processes; by default by the machine.
        precision: Bits: 32, bf16, 16, or auto: bf16 where a GPU has it, else 32.
        devices: GPUs to use (or processes, on the CPU).
        num_nodes: Machines to use.
        json: Print the scores as JSON.
    """

    run: str
    data: str | None = None
    split: Literal["test", "val", "train", "new", "all"] | None = None
    layout: FolderLayout = "auto"
    data_root: str | None = None
    batch_size: int = 32
    workers: int | None = None
    precision: Literal["auto", "32", "bf16", "16"] = "auto"
    devices: int | Literal["auto"] = "auto"
    num_nodes: int = 1
    json: bool = False


@dataclass
class PredictOptions:
    """Classify images with a run's model; results are printed as they come.

    Args:
        run: The run, or a file that `mixtransfer export` wrote.
        images: Files, folders or glob patterns.
        top: How many classes to give an image; of several labels in JSON and CSV, the table has those it is said to
            have.
        unknown: Call images unknown that look like none of the classes: less known than 95 % of the images to
            validate on. In JSON each answer has this share, known, anyway.
        explain: A folder for pictures that show where the most probable class was read from (of runs alone).
        format: table for people; json gives one object a line; csv one row an image and class.
        json: Short for --format json.
        batch_size: Images at a time.
        workers: Image-loading processes; by default by the machine.
        device: cpu, cuda or cuda:1; auto takes a GPU where there is one. Exported files know
            what their runtime calls its own, such as directml or coreml.
    """

    run: str
    images: list[str]
    top: int = 5
    unknown: bool = False
    explain: str | None = None
    format: Literal["table", "json", "csv"] = "table"
    json: bool = False
    batch_size: int = 32
    workers: int | None = None
    device: str = "auto"
