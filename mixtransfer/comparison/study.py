"""A study: the same training for every backbone and seed, each a Run of its own, of which none is done twice."""

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing
import yaml
from filelock import FileLock, Timeout

from mixtransfer.arguments import parse
from mixtransfer.backbones import backbone_spec, create_backbone
from mixtransfer.comparison.budget import passes_within
from mixtransfer.comparison.options import CompareOptions
from mixtransfer.data.preprocessing import Preprocessing
from mixtransfer.errors import Interrupted, UserError
from mixtransfer.files import write_atomic
from mixtransfer.ranges import AT_LEAST_1, check_ranges
from mixtransfer.run import Run, join_folder

Say = Callable[[str], None]

# What may differ when a study goes on: more backbones and seeds, and how to run and show it.
FREE = ("backbones", "seeds", "baseline", "jobs", "output", "data_root", "workers", "limit", "rounds", "paper", "json")
ENDED = (torch.multiprocessing.ProcessRaisedException, torch.multiprocessing.ProcessExitedException)
POLL = 5  # seconds between looks at what other machines do


@dataclass(frozen=True)
class Job:
    """One training of a study.

    Attributes:
        folder: Its Run.
    """

    backbone: str
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        return f"{self.backbone}, seed {self.seed}"

    @property
    def log(self) -> Path:
        return self.folder.parent.parent / "logs" / f"{self.folder.name}.txt"

    @property
    def failure(self) -> Path:
        """Holds the reason, if the last attempt failed."""
        return self.folder.with_name(f"{self.folder.name}.failed.txt")

    @property
    def finished(self) -> bool:
        return "test" in Run(self.folder).read_metrics()


def run_study(options: CompareOptions, say: Say = print) -> tuple[Path, list[Job]]:
    """Train all that is not trained yet.

    Several processes and machines can work on a study in the same folder: each training is claimed by a lock that
    ends with its process. A training that fails leaves its reason, and the rest goes on.

    Returns:
        The study's folder, and its trainings.

    Raises:
        UserError: An option cannot be used, or the folder holds another study.
    """
    _check(options)
    names = [name.strip() for name in options.backbones.split(",") if name.strip()]
    for name in names:
        backbone_spec(name)
    if options.baseline and options.baseline not in names:
        raise UserError(f"--baseline {options.baseline} is not among the backbones: {', '.join(names)}.")
    training = training_options(options)
    _check_training(training, options.task)
    folder = _open(options, training.data)
    jobs = [
        Job(name, seed, folder / "runs" / f"{name.replace('/', '-')}-seed{seed}")
        for seed in range(options.seeds)  # a seed of all before the next, so that an early end can be compared
        for name in names
    ]
    done = [job for job in jobs if job.finished]
    say(f"{folder}: {len(jobs)} trainings" + (f", {len(done)} of them finished already." if done else "."))
    settings = {name: _settings(training, name, options, folder) for name in dict.fromkeys(names)}
    _Workers(options, jobs, lambda job: replace(training, **settings[job.backbone]), say).run()
    return folder, jobs


def training_options(options: CompareOptions):
    """The options of the training that all backbones share: defaults, then the recipe, then what `compare` was given.

    Raises:
        UserError: The recipe cannot be read or has an unknown key, or an option is not one of this task.
    """
    if options.task == "classify":
        from mixtransfer.classification.options import TrainOptions
    else:
        from mixtransfer.detection.options import TrainOptions  # type: ignore[assignment]
    if options.recipe and not Path(options.recipe).is_file():
        raise UserError(f"--recipe {options.recipe} is not a file.")
    words = ["--config", options.recipe] if options.recipe else []
    if options.recipe and options.recipe.endswith(".py"):
        from mixtransfer.detection.recipes import read_recipe

        words[1] = yaml.safe_dump(read_recipe(options.recipe))
    training = parse(f"{options.task} train", TrainOptions, {"data": "?"}, words)
    shared = ("data_root", "weights", "epochs", "iterations", "batch_size", "image_size", "lr", "workers")
    given = {name: value for name in shared if (value := getattr(options, name)) is not None}
    if options.data:
        given["data"] = options.data[0]
    known = {field.name for field in fields(TrainOptions)}
    if unknown := sorted(given.keys() - known):
        raise UserError(f"--{unknown[0]} is no option of --task {options.task}.")
    training = replace(training, **given)
    if training.data is None:
        raise UserError("Say what to compare: mixtransfer compare DATA (a folder, a file or a name), or RUN RUN ….")
    return training


def _check_training(training, task: str) -> None:
    """Have options and data that cannot be used be an error now, not one of each training.

    Named datasets are downloaded here.
    """
    if task == "detect":
        from mixtransfer.data.detection.load import list_boxes
        from mixtransfer.detection import train as detection

        detection.check(training)
        list_boxes(training.data, Path(training.data_root), layout=training.layout)
    else:
        from mixtransfer.classification import defaults
        from mixtransfer.data.load import load_dataset

        defaults.check(training)
        parts = (training.val_fraction, training.test_fraction, training.split_seed)
        load_dataset(training.data, training.data_root, *parts, check=False)


def _settings(training, backbone: str, options: CompareOptions, folder: Path) -> dict:
    """What is particular to a backbone: its name, its native size, and the passes that fit the budget."""
    settings: dict[str, Any] = {"backbone": backbone}
    if training.image_size is None:
        settings["image_size"] = _native_size(backbone)
    if options.budget_minutes:
        settings |= passes_within(options.budget_minutes, options.task, replace(training, **settings), folder)
    return settings


def _native_size(backbone: str) -> int:
    """Side in pixels of the images that the backbone's weights were trained with."""
    with torch.device("meta"):
        return Preprocessing.of(create_backbone(backbone, weights="none")).size


def _check(options: CompareOptions) -> None:
    check_ranges(options, seeds=AT_LEAST_1, jobs=AT_LEAST_1)
    if options.budget_minutes is not None and not options.budget_minutes > 0:
        raise UserError(f"--budget-minutes is {options.budget_minutes}; it must be more than 0.")
    if options.budget_minutes and (options.epochs or options.iterations):
        raise UserError("--budget-minutes says how long to train: leave --epochs and --iterations out.")
    if len(options.data) > 1:
        raise UserError(f"{options.data[1]} is one too many: give one dataset, or runs only.")


def _open(options: CompareOptions, data: str) -> Path:
    """The study's folder, new or of the same study."""
    folder = Path(options.output or Path("runs") / f"compare-{Path(data).stem}")
    join_folder(folder, options, FREE, "seeds", "a study")
    for part in ("runs", "logs"):
        (folder / part).mkdir(exist_ok=True)
    return folder


class _Workers:
    """Takes the jobs one after another, ``options.jobs`` at a time, each in a process of its own."""

    def __init__(self, options: CompareOptions, jobs: Sequence[Job], options_of: Callable, say: Say):
        self.options, self.jobs, self.options_of, self.say = options, jobs, options_of, say
        self.began = time.time()
        self.stopped = threading.Event()

    def run(self) -> None:
        with ThreadPoolExecutor(self.options.jobs) as pool:
            workers = [pool.submit(self._work) for _ in range(self.options.jobs)]
            try:
                for worker in workers:
                    worker.result()
            except BaseException:  # Ctrl-C has reached the trainings as well; begin no other
                self.stopped.set()
                raise

    def _work(self) -> None:
        said = False
        while not self.stopped.is_set():
            elsewhere = [job for job in self.jobs if not self._ended(job) and not self._attempt(job)]
            if not elsewhere or self.stopped.is_set():
                return
            if not said and self.options.jobs == 1:
                self.say(f"Waiting for {len(elsewhere)} trainings elsewhere, such as {elsewhere[0].name}.")
                said = True
            self.stopped.wait(POLL)

    def _ended(self, job: Job) -> bool:
        """Whether it is finished, or has failed since this command began."""
        return job.finished or (job.failure.exists() and job.failure.stat().st_mtime >= self.began)

    def _attempt(self, job: Job) -> bool:
        """Train, unless another worker is at it; whether it was ours."""
        if self.stopped.is_set():
            return True
        try:
            with FileLock(job.folder.with_name(f".{job.folder.name}.lock"), timeout=0):
                if not self._ended(job):
                    self._train(job)
                return True
        except Timeout:
            return False

    def _train(self, job: Job) -> None:
        job.failure.unlink(missing_ok=True)
        options = self.options_of(job)
        if Run.is_run(job.folder):
            options = replace(type(options)(), resume=str(job.folder), workers=options.workers)
            self.say(f"{job.name}: going on.")
        else:
            options = replace(options, seed=job.seed, output=str(job.folder))
            self.say(f"{job.name}: training.")
        threads = max(1, torch.get_num_threads() // self.options.jobs)
        log = str(job.log) if self.options.jobs > 1 or self.options.json else None
        try:
            torch.multiprocessing.start_processes(
                train_in_child, (self.options.task, options, threads, log), nprocs=1, start_method="spawn"
            )
        except ENDED as error:
            if self.stopped.is_set():
                return
            reason = _reason(error)
            write_atomic(job.failure, reason + "\n")
            self.say(f"{job.name} failed, the rest goes on: {reason}")
            return
        if not job.finished:  # the child was interrupted
            raise KeyboardInterrupt
        self.say(f"{job.name}: finished.")


def train_in_child(_: int, task: str, options, threads: int, log: str | None) -> None:
    """What the process of a training does."""
    if task == "classify":
        from mixtransfer.classification.train import train
    else:
        from mixtransfer.detection.train import train  # type: ignore[assignment]
    torch.set_num_threads(threads)
    with contextlib.ExitStack() as stack:
        if log:
            file = stack.enter_context(Path(log).open("a", encoding="utf-8", buffering=1))
            stack.enter_context(contextlib.redirect_stdout(file))
            stack.enter_context(contextlib.redirect_stderr(file))
        try:
            train(options)
        except Interrupted as stop:
            raise KeyboardInterrupt from stop  # which the parent understands


def _reason(error: Exception) -> str:
    """One line of why a training ended."""
    if signal := getattr(error, "signal_name", None):
        hint = ", probably for want of memory" if signal == "SIGKILL" else ""
        return f"It was ended by {signal}{hint}."
    last = str(error).strip().splitlines()[-1]
    return last.removeprefix("mixtransfer.errors.UserError: ")
