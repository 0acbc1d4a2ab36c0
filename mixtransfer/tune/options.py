"""The options of `tune`: its interface, its help and what config.yaml records."""

from dataclasses import dataclass
from typing import Literal

from mixtransfer.data import FolderLayout


@dataclass
class TuneOptions:
    """Choose the settings of `classify train` for your images by trials: rate, decay, augmentation, size and more.

    Each trial trains on folds of the images to train and validate on, and is scored by the log loss of the fold that it
    did not see; bad ones end after their first folds. The test images are touched once, at the end: there the best
    settings are compared with the defaults. The first trial is the defaults, which stay unless the folds agree that
    others are better. best.yaml is what --config takes. The same command goes on after an interrupt; run at the same
    time in other terminals, or on machines that share --output and --storage, it helps.

    Args:
        data: An image folder, a CSV manifest, or cifar10, cifar100, pets, food101, digits.
        backbone: A name of `mixtransfer models` or timm, or a backbone file.
        weights: Start: imagenet (published), none (from scratch), or a file.
        output: The folder of the trials; by default one under runs/ named after the data.
        trials: Settings to try, the defaults among them.
        minutes: Begin no trial after so many minutes of this call.
        folds: Parts of the images, each of which scores the trainings on the others.
        epochs: Of each training; by default as `classify train` has it.
        batch_size: Images a step.
        image_size: Side of the input in pixels, which is then not tried.
        data_root: Where named datasets live, or are downloaded to.
        val_fraction: See `classify train`.
        test_fraction: See `classify train`.
        split_seed: See `classify train`; with the same one its test images are those that no trial saw.
        group_by: See `classify train`.
        layout: See `classify train`.
        seed: Of the trainings and of the sampling.
        workers: Image-loading processes; by default by the machine.
        precision: Bits: 32, bf16, 16, or auto: bf16 where a GPU has it, else 32.
        storage: Where Optuna keeps the trials, as a database's address, by the name of the folder; by default a SQLite
            file in it.
        json: Print tune.json instead of a table.
    """

    data: str | None = None
    backbone: str = "mixnet_s"
    weights: str = "imagenet"
    output: str | None = None
    trials: int = 30
    minutes: float | None = None
    folds: int = 3
    epochs: int | None = None
    batch_size: int = 32
    image_size: int | None = None
    data_root: str = "data"
    val_fraction: float = 0.1
    test_fraction: float = 0.2
    split_seed: int = 0
    group_by: str | None = None
    layout: FolderLayout = "auto"
    seed: int = 0
    workers: int | None = None
    precision: Literal["auto", "32", "bf16", "16"] = "auto"
    storage: str | None = None
    json: bool = False
