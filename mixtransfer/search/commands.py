"""`search` as the command line runs it: data, supernet, search, and what comes of it."""

import hashlib
import json
import math
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from rich.table import Table

from mixtransfer.backbones.describe import describe_backbone
from mixtransfer.classification.datamodule import ImageDataModule
from mixtransfer.classification.model import model_bytes
from mixtransfer.commandline.console import print_table
from mixtransfer.common.device import choose_device
from mixtransfer.common.files import remove_unfinished, write_atomic
from mixtransfer.common.messages import silent, tell
from mixtransfer.common.ranges import AT_LEAST_0, AT_LEAST_1, SEED, check_ranges
from mixtransfer.common.signals import interruptible
from mixtransfer.data.augment import Augment
from mixtransfer.data.dataset import ImageDataset
from mixtransfer.data.images import tell_skipped
from mixtransfer.data.load import load_dataset
from mixtransfer.data.named import NAMED_DATASETS
from mixtransfer.data.names import data_name, settled
from mixtransfer.data.preprocessing import Preprocessing
from mixtransfer.data.split_file import Split
from mixtransfer.errors import UserError
from mixtransfer.runs.run import Run, join_folder
from mixtransfer.search.elastic import ElasticNetwork
from mixtransfer.search.latency import learn_latency
from mixtransfer.search.options import SearchOptions
from mixtransfer.search.results import how_to_train, in_words, write_results
from mixtransfer.search.scoring import Scorer
from mixtransfer.search.space import Space
from mixtransfer.search.start import Start, open_start
from mixtransfer.search.study import Say, Study, is_small
from mixtransfer.search.training import load_elastic, train_elastic

# What may differ when a search goes on.
FREE = ("output", "data_root", "workers", "precision", "trials", "storage", "json")
SPLIT_FILE = "split.csv"  # which image is in which part, whatever comes to the data later
SOME = 200  # images whose sizes are looked at
STEP, LARGEST = 32, 224  # of the default size in pixels
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
    start_from = settled(options.start, ()) if options.start and Run.is_run(options.start) else options.start
    options = replace(options, data=settled(str(options.data), NAMED_DATASETS), start=start_from)
    folder = Path(options.output or Path("runs") / f"search-{data_name(str(options.data))}")
    if (folder / "config.yaml").exists():  # what was chosen by the data stays, whatever has become of it
        recorded = Run(folder).read_config()
        size, macs = recorded.get("image_size"), recorded.get("budget_macs")
        options = replace(options, image_size=options.image_size or size, budget_macs=options.budget_macs or macs)
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
    if dataset.is_multilabel:
        raise UserError(f"A search is for one class an image, and those of {dataset.name} may have several labels.")
    options = _resolved(options, dataset, say)
    assert options.image_size and options.budget_macs
    trained, kept = folder / "supernet.safetensors", folder / "start.json"
    start = None
    if options.start:
        start = Start.read(kept) if trained.exists() and kept.exists() else open_start(options.start, dataset, say)
    classes = len(dataset.classes)
    if start:
        space = Space.of_trained(start.architecture, options.image_size, classes)
        space.check_budget(options.budget_macs)
    else:
        space = Space.for_budget(options.budget_macs, options.image_size, classes)
    least = space.architecture(space.smallest)
    if not is_small(least, options, classes):
        raise UserError(
            f"No network here is within the budgets, not even one of {space.macs(space.smallest) / 1e6:.3g} million "
            f"multiply-adds and {least.parameters(classes) / 1e6:.3g} million parameters: allow more."
        )
    join_folder(folder, options, FREE, "budget_macs", "a search")
    if split is None:
        dataset.split().write(folder / SPLIT_FILE)
    if start and start.network:
        start.write(kept)
    preprocessing = replace(start.preprocessing if start else Preprocessing(), size=options.image_size)
    with ExitStack() as stack:
        alone = _claim(folder, stack, say)
        if alone:
            remove_unfinished(folder)
        latency = learn_latency(space, options.runtime, folder / "latency.json", say) if options.budget_ms else None
        study = Study(folder, options, space, alone, latency)
        if latency and not study.fits(space.smallest):
            raise UserError(
                f"No network here is within --budget-ms {options.budget_ms:g}: the smallest takes about "
                f"{1000 * latency(least):.3g} ms. Allow more, in another --output."
            )
        torch.manual_seed(options.seed)
        supernet = ElasticNetwork(space, start.network if start else None).to(memory_format=torch.channels_last)
        if start:
            start.fill_classifier(supernet, dataset.classes)
        scorer = Scorer(supernet, dataset, preprocessing, choose_device("auto"), options.workers)
        _train(folder, options, dataset, scorer, preprocessing, say)
        study.belong_to(hashlib.sha256(trained.read_bytes()).hexdigest())
        say(f"Searching among networks of up to {options.budget_macs / 1e6:.4g} million multiply-adds.")
        candidates = study.run(scorer, say)
    if not candidates:
        raise UserError("No network within the budget was found: allow more by --budget-macs or the other budgets.")
    with FileLock(folder / ".results.lock"):  # of several processes the last writes what all have found
        write_results(folder, options, dataset, space, scorer, study.candidates(), latency)
    return folder


def _resolved(options: SearchOptions, dataset: ImageDataset, say: Say) -> SearchOptions:
    """The options with the size of the images and the budget filled in, which is told."""
    size = options.image_size
    if size is None:
        some = np.linspace(0, len(dataset.train) - 1, min(len(dataset.train), SOME)).astype(int)
        side = np.median([min(dataset.train.image(int(i)).size) for i in some])
        size = int(np.clip(STEP * np.ceil(side / STEP), STEP, LARGEST))
    budget = options.budget_macs
    if budget is None:
        budget = float(describe_backbone("mixnet_s").macs(size, len(dataset.classes)))
    if (size, budget) != (options.image_size, options.budget_macs):
        say(f"Images of {size} pixels; networks of up to {budget / 1e6:.4g} million multiply-adds.")
    return replace(options, image_size=size, budget_macs=budget)


def _check(options: SearchOptions) -> None:
    if options.data is None:
        raise UserError("Say what to search on: mixtransfer search DATA (a folder, a CSV file or a name).")
    check_ranges(
        options,
        **dict.fromkeys(("epochs", "trials"), AT_LEAST_1),
        **dict.fromkeys(("batch_size", "population"), (2, math.inf)),
        workers=AT_LEAST_0,
        seed=SEED,
        **({"image_size": (16, 2048)} if options.image_size is not None else {}),
    )
    if options.runtime != SearchOptions.runtime and options.budget_ms is None:
        raise UserError(f"--runtime {options.runtime} is whose latency --budget-ms limits: give that too.")
    for name in ("budget_macs", "budget_params", "budget_mb", "budget_ms", "lr"):
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


def _train(
    folder: Path,
    options: SearchOptions,
    dataset: ImageDataset,
    scorer: Scorer,
    preprocessing: Preprocessing,
    say: Say,
) -> None:
    """Give a supernet its trained weights, those of this folder or by a training, of which ``supernet/`` is the run.

    As any run's, that run's model can be evaluated and predict: it is the largest network.
    """
    supernet, weights = scorer.supernet, folder / "supernet.safetensors"
    if not weights.exists():
        say(f"Training the supernet: {len(dataset.train)} images, {options.epochs} epochs.")
        augment = Augment(options.augment, preprocessing.size)
        data = ImageDataModule(dataset, preprocessing, augment, options.batch_size, options.workers, options.seed)
        run = Run(folder / "supernet")
        train_elastic(supernet, data, options, run, say)
        scorer.supernet.to(scorer.device)
        write_atomic(run.weights, model_bytes(scorer.network(supernet.largest)))
        write_atomic(weights, model_bytes(supernet))
    (folder / "supernet" / "last.ckpt").unlink(missing_ok=True)
    load_elastic(supernet, weights)


def _print(options: SearchOptions, folder: Path) -> None:
    found = json.loads((folder / "search.json").read_text(encoding="utf-8"))
    print("What no cheaper network beats; these scores, with shared weights, only rank:")
    table = Table()
    columns = ("log loss", "validation %", "MACs M", "params M", *(["ms estimated", "ms"] if options.budget_ms else []))
    for column in columns:
        table.add_column(column, justify="right")
    for one in found["front"]:
        table.add_row(
            f"{one['loss']:.3f}", f"{100 * one['top1']:.1f}", f"{one['macs'] / 1e6:.3g}", f"{one['params'] / 1e6:.3g}",
            *([f"{one['ms']:.2f}", f"{one['ms_measured']:.2f}"] if options.budget_ms else []),
        )  # fmt: skip
    print_table(table)
    print(in_words(found["ranking"]))
    if found["winner"]:
        print(f"Winner:  {folder / 'backbone.json'}")
        print(f"Train:   {how_to_train(folder, options)}")
    else:
        print(f"Networks of the front: {folder / 'front'}")
    print(f"Report:  {folder / 'report.html'}")
