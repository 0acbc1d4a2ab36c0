"""`tune` as the command line runs it."""

import json
import math
from dataclasses import replace
from pathlib import Path

from filelock import FileLock
from rich.table import Table

from mixtransfer.backbones import backbone_spec
from mixtransfer.backbones.capability import check_classifier
from mixtransfer.classification.options import TrainOptions
from mixtransfer.commandline.console import print_table
from mixtransfer.common.messages import silent, tell
from mixtransfer.common.ranges import AT_LEAST_0, AT_LEAST_1, SEED, check_ranges
from mixtransfer.common.signals import interruptible
from mixtransfer.data.images import tell_skipped
from mixtransfer.data.named import NAMED_DATASETS
from mixtransfer.data.names import data_name, settled
from mixtransfer.data.split_file import Split
from mixtransfer.data.splits import TooFew
from mixtransfer.errors import UserError
from mixtransfer.runs.run import join_folder
from mixtransfer.runs.run_data import training_images
from mixtransfer.tune.options import TuneOptions
from mixtransfer.tune.results import in_words, write_results
from mixtransfer.tune.study import Say, Study, folds_of

# What may differ when the trials go on.
FREE = ("output", "data_root", "workers", "precision", "trials", "minutes", "storage", "json")
SHARED = (
    "data", "backbone", "weights", "epochs", "batch_size", "image_size", "data_root", "val_fraction", "test_fraction",
    "split_seed", "group_by", "layout", "seed", "workers", "precision",
)  # fmt: skip  # options of each training
SPLIT_FILE = "split.csv"


def tune(options: TuneOptions) -> int:
    with interruptible(lambda: "The same command goes on."):
        folder = run_tuning(options, silent if options.json else print)
    text = (folder / "tune.json").read_text(encoding="utf-8")
    if options.json:
        print(text, end="")
    else:
        _print(json.loads(text), folder)
    return 0


def run_tuning(options: TuneOptions, say: Say = tell) -> Path:
    """Tune as ``options`` say and return the folder with what was found.

    Raises:
        UserError: An option or the data cannot be used, or the defaults cannot be trained.
        KeyboardInterrupt, SystemExit: Ctrl-C; the same call goes on.
    """
    _check(options)
    options = replace(
        options,
        data=settled(str(options.data), NAMED_DATASETS),
        weights=settled(options.weights, ("imagenet", "none")),
        backbone=settled(options.backbone, ()) if options.backbone.endswith(".json") else options.backbone,
    )
    check_classifier(backbone_spec(options.backbone), options.image_size)
    folder = Path(options.output or Path("runs") / f"tune-{data_name(str(options.data))}")
    base = TrainOptions(**{name: getattr(options, name) for name in SHARED}, devices=1)
    split = Split.read(folder / SPLIT_FILE) if (folder / SPLIT_FILE).exists() else None
    dataset = training_images(base, split=split)
    tell_skipped(dataset.skipped, say)
    for note in dataset.notes:
        say(note)
    whole = dataset.split() if split is None else split  # with the images that are not there any more
    try:
        splits = folds_of(whole, options.folds, options.split_seed)
    except TooFew as error:
        name = dataset.classes[error.label] if error.label < len(dataset.classes) else error.label
        raise UserError(
            f"{options.folds} folds need {error.needed} images of each class to train on, and {name} has "
            f"{error.units}: take fewer --folds."
        ) from error
    join_folder(folder, options, FREE, "folds", "trials")
    if split is None:
        whole.write(folder / SPLIT_FILE)
    (folder / "trials").mkdir(exist_ok=True)
    study = Study(folder, options, base, splits, say)
    pool = len(dataset.train) + len(dataset.val)
    say(
        f"{options.trials} trials on {options.folds} folds of {pool:,} images; {len(dataset.test):,} to test on are "
        "left for the end."
    )
    study.run()
    with FileLock(folder / ".results.lock"):  # of several processes the last writes what all have found
        write_results(folder, options, base, dataset, whole, study, say)
    return folder


def _check(options: TuneOptions) -> None:
    if options.data is None:
        raise UserError("Say what to tune on: mixtransfer tune DATA (a folder, a CSV file or a name).")
    check_ranges(
        options,
        **dict.fromkeys(("trials", "batch_size"), AT_LEAST_1),
        **({"epochs": AT_LEAST_1} if options.epochs is not None else {}),
        **({"image_size": (16, 2048)} if options.image_size is not None else {}),
        folds=(2, 100),
        workers=AT_LEAST_0,
        seed=SEED,
    )
    if options.minutes is not None and not 0 < options.minutes < math.inf:
        raise UserError(f"--minutes is {options.minutes}; it must be more than 0.")


def _print(found: dict, folder: Path) -> None:
    table = Table("setting", "default", "best", "explains")
    best, default = found["best"]["settings"], found["default"]["settings"]
    for name, value in default.items():
        share = found["importance"].get(name)
        texts = (f"{one:.3g}" if isinstance(one, float) else str(one) for one in (value, best[name]))
        table.add_row(name.replace("_", "-"), *texts, "–" if share is None else f"{100 * share:.0f} %")
    print_table(table)
    print(in_words(found))
    print(f"Settings: {folder / 'best.yaml'} (classify train --config {folder / 'best.yaml'})")
    print(f"Report:   {folder / 'report.html'}")
