"""`search` as the command line runs it: data, supernet, search, and what comes of it."""

import json
import math
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from rich.table import Table

from mixtransfer.classification.datamodule import ImageDataModule
from mixtransfer.console import print_table, silent
from mixtransfer.data.augment import Augment
from mixtransfer.data.dataset import ImageDataset
from mixtransfer.data.images import tell_skipped
from mixtransfer.data.load import load_dataset
from mixtransfer.data.named import NAMED_DATASETS
from mixtransfer.data.names import data_name, settled
from mixtransfer.data.preprocessing import Preprocessing
from mixtransfer.data.split_file import Split
from mixtransfer.device import choose_device
from mixtransfer.errors import UserError
from mixtransfer.messages import tell
from mixtransfer.ranges import AT_LEAST_0, AT_LEAST_1, SEED, check_ranges
from mixtransfer.run import join_folder
from mixtransfer.search.options import SearchOptions
from mixtransfer.search.results import write_results
from mixtransfer.search.scoring import Scorer
from mixtransfer.search.space import Space
from mixtransfer.search.study import Say, Study
from mixtransfer.search.supernet import Supernet
from mixtransfer.search.training import load_supernet, train_supernet
from mixtransfer.signals import interruptible

# What may differ when a search goes on.
FREE = ("output", "data_root", "workers", "precision", "trials", "storage", "json")
SPLIT_FILE = "split.csv"  # which image is in which part, whatever comes to the data later
POLL = 5  # seconds between looks at what another process does


def search(options: SearchOptions) -> int:
    with interruptible(lambda: "The same command goes on."):
        folder = run_search(options, silent if options.json else print)
    if options.json:
        print((folder / "search.json").read_text(encoding="utf-8"), end="")
    else:
        _print(options, folder)
    return 0


def run_search(options: SearchOptions, say: Say = tell) -> Path:
    """Search as ``options`` say and return the folder with what was found.

    Raises:
        UserError: An option or the data cannot be used, or no network fits the budget.
        KeyboardInterrupt, SystemExit: Ctrl-C; the same call goes on.
    """
    _check(options)
    options = replace(options, data=settled(str(options.data), NAMED_DATASETS))
    folder = Path(options.output or Path("runs") / f"search-{data_name(str(options.data))}")
    split = Split.read(folder / SPLIT_FILE) if (folder / SPLIT_FILE).exists() else None
    dataset = load_dataset(
        str(options.data),
        options.data_root,
        options.val_fraction,
        options.test_fraction,
        options.split_seed,
        split=split,
    )
    tell_skipped(dataset.skipped, say)
    for note in dataset.notes:
        say(note)
    space = Space.for_budget(options.budget_macs, options.image_size, len(dataset.classes))
    join_folder(folder, options, FREE, "budget_macs", "a search")
    if split is None:
        dataset.split().write(folder / SPLIT_FILE)
    preprocessing = Preprocessing(size=options.image_size)
    with ExitStack() as stack:
        alone = _claim(folder, stack, say)
        study = Study(folder, options, space, seeded=alone)
        supernet = _supernet(folder, options, dataset, space, preprocessing, say)
        scorer = Scorer(supernet, dataset, preprocessing, choose_device("auto"), options.workers)
        say(f"Searching among networks of up to {options.budget_macs / 1e6:g} million multiply-adds.")
        candidates = study.run(scorer, say)
    if not candidates:
        raise UserError("No network within the budget was found: allow more by --budget-macs or --budget-ms.")
    write_results(folder, options, dataset, space, scorer, candidates)
    return folder


def _check(options: SearchOptions) -> None:
    if options.data is None:
        raise UserError("Say what to search on: mixtransfer search DATA (a folder, a CSV file or a name).")
    check_ranges(
        options,
        **dict.fromkeys(("epochs", "trials"), AT_LEAST_1),
        **dict.fromkeys(("batch_size", "population"), (2, math.inf)),
        workers=AT_LEAST_0,
        seed=SEED,
        image_size=(16, 2048),
    )
    for name in ("budget_macs", "budget_ms", "lr"):
        value = getattr(options, name)
        if value is not None and not 0 < value < math.inf:
            raise UserError(f"--{name.replace('_', '-')} is {value}; it must be more than 0.")


def _claim(folder: Path, stack: ExitStack, say: Say) -> bool:
    """Whether this process is the first to work in the folder; the others wait until the supernet is trained."""
    lock, waited = FileLock(folder / ".search.lock"), False
    while True:
        try:
            stack.enter_context(lock.acquire(timeout=0))
            return True
        except Timeout:
            if (folder / "supernet.safetensors").exists():
                return False
        if not waited:
            say("Waiting for the supernet, which another process is training.")
        waited = True
        time.sleep(POLL)


def _supernet(
    folder: Path, options: SearchOptions, dataset: ImageDataset, space: Space, preprocessing: Preprocessing, say: Say
) -> Supernet:
    """The trained supernet of this folder."""
    torch.manual_seed(options.seed)
    supernet = Supernet(space).to(memory_format=torch.channels_last)
    weights = folder / "supernet.safetensors"
    if not weights.exists():
        say(f"Training the supernet: {len(dataset.train)} images, {options.epochs} epochs.")
        augment = Augment(options.augment, options.image_size)
        data = ImageDataModule(dataset, preprocessing, augment, options.batch_size, options.workers, options.seed)
        train_supernet(supernet, data, options, weights, say)
    load_supernet(supernet, weights)
    return supernet


def _print(options: SearchOptions, folder: Path) -> None:
    found = json.loads((folder / "search.json").read_text(encoding="utf-8"))
    print("What no cheaper network beats; these accuracies, with shared weights, only rank:")
    table = Table()
    for column in ("validation %", "MACs M", *(["ms"] if options.budget_ms else [])):
        table.add_column(column, justify="right")
    for one in found["front"]:
        table.add_row(
            f"{100 * one['top1']:.1f}", f"{one['macs'] / 1e6:.3g}", *([f"{one['ms']:.2f}"] if options.budget_ms else [])
        )
    print_table(table)
    file = folder / "backbone.json"
    print(f"Winner:  {file}")
    print(f"Report:  {folder / 'report.html'}")
    print(f"Train:   mixtransfer classify train {options.data} --backbone {file} --weights none")
