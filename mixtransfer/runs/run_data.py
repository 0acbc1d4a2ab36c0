"""The data of a Run in the parts that it was trained on: whatever opens it comes here, and nothing is drawn twice."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mixtransfer.data.dataset import ImageDataset
from mixtransfer.data.detection.dataset import DetectionDataset
from mixtransfer.data.detection.load import load_detection_dataset
from mixtransfer.data.division import counted
from mixtransfer.data.labels import class_counts
from mixtransfer.data.load import load_dataset
from mixtransfer.data.named import NAMED_DATASETS
from mixtransfer.data.packed_source import is_packed
from mixtransfer.data.split_file import Split
from mixtransfer.errors import UserError
from mixtransfer.runs.model_card import ModelCard
from mixtransfer.runs.run import Run


def read_split(run: Run) -> Split:
    """The split that a run keeps, with the classes of its model.

    Raises:
        UserError: It is not there, as of runs before there were splits, or damaged.
    """
    try:
        split = Split.read(run.split)
    except FileNotFoundError:
        raise UserError(
            f"{run.folder} keeps no split ({run.split.name} was taken out, or an older version trained it), so which "
            "images it was trained on is not known: train anew, or evaluate it on other images by giving DATA."
        ) from None
    return replace(split, classes=ModelCard.read(run.model).classes) if run.model.exists() else split


def images_of_run(run: Run, data_root: str | None = None, check: bool = True) -> ImageDataset:
    """The labelled images of a classifier's run, as far as they are still there, in its parts.

    Args:
        data_root: Where named datasets live; by default as in training.
        check: See ``load_dataset``.

    Raises:
        UserError: The data is gone or has other classes, or the run keeps no split.
    """
    split = read_split(run)
    data, recorded_root, layout = _place(run, NAMED_DATASETS)
    return load_dataset(data, data_root or recorded_root, check=check, split=split, layout=layout)


def boxes_of_run(run: Run, data_root: str | None = None, only: str | None = None) -> DetectionDataset:
    """The images with boxes of a detector's run, as far as they are still there, in its parts.

    Args:
        data_root: Where named datasets live; by default as in training.
        only: See ``load_detection_dataset``.

    Raises:
        UserError: The data is gone or has other classes, or the run keeps no split.
    """
    split = read_split(run)
    data, recorded_root, layout = _place(run, ("coco",))
    return load_detection_dataset(data, data_root or recorded_root, layout=layout, split=split, only=only)


def training_images(options, run: Run | None = None, split: Split | None = None, check: bool = True) -> ImageDataset:
    """The labelled images of a training that the options describe.

    Args:
        options: Of ``classify train``.
        run: The run that goes on, whose parts hold.
        split: The parts, if they are settled.
        check: See ``load_dataset``.

    Raises:
        UserError: The data cannot be used, or not any more.
    """
    if run is not None and goes_on(run):
        dataset = images_of_run(run, options.data_root)
        _require_parts(run, dataset)
        return dataset
    return load_dataset(
        str(options.data),
        options.data_root,
        options.val_fraction,
        options.test_fraction,
        options.split_seed,
        check,
        fold=options.fold,
        group_by=options.group_by,
        split=split,
        layout=options.layout,
    )


def training_boxes(options, run: Run | None = None, split: Split | None = None) -> DetectionDataset:
    """The images with boxes of a training that the options describe; for the arguments see ``training_images``.

    Raises:
        UserError: The data cannot be used, or not any more.
    """
    if run is not None and goes_on(run):
        dataset = boxes_of_run(run, options.data_root)
        for part, records in (("train", dataset.train), ("validate", dataset.val), ("test", dataset.test)):
            if not records:
                raise UserError(f"{run.folder} cannot go on: no image to {part} on is left.")
        return dataset
    return load_detection_dataset(
        str(options.data),
        options.data_root,
        options.val_fraction,
        options.test_fraction,
        options.split_seed,
        layout=options.layout,
        group_by=options.group_by,
        split=split,
    )


def goes_on(run: Run) -> bool:
    """Whether the parts of a run hold: it has some, or has learnt from some."""
    return run.split.exists() or run.checkpoint.exists()


def kept_split(file: Path, load: Callable[[], ImageDataset | DetectionDataset]) -> Split:
    """The split of several trainings on the same data, which the first one that asks draws and writes.

    Raises:
        UserError: The data cannot be used, or the file is damaged.
    """
    if not file.exists():
        load().split().write(file)
    return Split.read(file)


def _place(run: Run, names: tuple[str, ...]) -> tuple[str, str, Any]:
    """Where a run's data is: a path or name, the folder of named data sets, and how to read it."""
    config = run.read_config()
    if "data" not in config:
        raise UserError(f"{run.config} does not say what the run was trained on: it is damaged.")
    data, data_root = str(config.get("data")), str(config.get("data_root", "data"))
    if data not in names and not is_packed(data) and not Path(data).exists():
        raise UserError(
            f"The data of {run.folder} is not at {data} any more: put it back, or write its new place into "
            f"{run.config}, as data."
        )
    return data, data_root, config.get("layout", "auto")


def _require_parts(run: Run, dataset: ImageDataset) -> None:
    """Refuse to go on with a training that too much has gone of."""
    counts = class_counts(dataset.train.labels, len(dataset.classes))
    if gone := [name for name, count in zip(dataset.classes, counts, strict=True) if not count]:
        raise UserError(f"{run.folder} cannot go on: no image to train the class {gone[0]!r} on is left.")
    for part, examples in (("validate on", dataset.val), ("test on", dataset.test)):
        if not len(examples):
            raise UserError(f"{run.folder} cannot go on: no image to {part} is left.")


def seen_in_training(run: Run, files: Sequence[Path], parts: tuple[str, ...] = ("train", "val")) -> np.ndarray:
    """Which files a run was trained or validated on, by their contents, wherever they lie now: bool, shape (n,)."""
    if not run.split.exists():
        return np.zeros(len(files), dtype=bool)
    return np.array([part in parts for part in read_split(run).known(files)], dtype=bool)


def tell_seen(run: Run, files: Sequence[Path], mend: str, say: Callable[[str], None]) -> None:
    """Say how many of the files of other data are among those that a run was trained on.

    Args:
        mend: What to do instead, or "".
    """
    if count := int(seen_in_training(run, files).sum()):
        say(
            f"Warning: {run.folder} was trained or validated on {count:,} of these {counted(len(files))}, so the score "
            f"is too high{f'; {mend}' if mend else ''}."
        )


def tell_seen_parts(run: Run, dataset: ImageDataset, what: str, purpose: str, say: Callable[[str], None]) -> None:
    """Say how many of a data set's images to test and to validate on a run was trained on, which a training builds on.

    Args:
        what: What the run is to the training.
        purpose: What the images to validate on do.
    """
    if not (isinstance(dataset.test.images, list) and isinstance(dataset.val.images, list)):
        return  # not files
    tell_seen(run, dataset.test.images, f"train {what[0].lower()}{what[1:]} on the same split", say)
    if seen := int(seen_in_training(run, dataset.val.images, ("train",)).sum()):
        say(
            f"Warning: {what} was trained on {seen:,} of the images to validate on, which {purpose}: train it on the "
            "same split."
        )
