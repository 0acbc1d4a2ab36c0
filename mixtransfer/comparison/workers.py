"""Who trains what: each training is claimed by a lock, and runs in a process of its own."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.multiprocessing
from filelock import FileLock, Timeout

from mixtransfer.common.files import write_atomic
from mixtransfer.common.process import prepare_process
from mixtransfer.comparison.rates import RATES, chosen_rate, sweep
from mixtransfer.data.draw import Draw
from mixtransfer.data.split_file import Split
from mixtransfer.data.splits import Fold
from mixtransfer.errors import Interrupted
from mixtransfer.runs.run import Run
from mixtransfer.runs.run_data import kept_split, training_boxes, training_images

Say = Callable[[str], None]

ENDED = (torch.multiprocessing.ProcessRaisedException, torch.multiprocessing.ProcessExitedException)


@dataclass(frozen=True)
class Job:
    """One training of a study.

    Attributes:
        folder: Its Run.
        fold: Which it is tested on; None where the data has a test part.
    """

    backbone: str
    seed: int
    folder: Path
    fold: Fold | None = None

    @classmethod
    def of(cls, study: Path, backbone: str, seed: int, fold: Fold | None = None) -> "Job":
        name = f"{backbone.replace('/', '-')}-seed{seed}" + (f"-fold{fold.number}" if fold else "")
        return cls(backbone, seed, study / "runs" / name, fold)

    @property
    def name(self) -> str:
        return f"{self.backbone}, {self.place}"

    @property
    def place(self) -> str:
        return f"seed {self.seed}" + (f", fold {self.fold}" if self.fold else "")

    @property
    def rate(self) -> str:
        """The name of the choice of a learning rate that it shares with the trainings that validate on the same images.

        What is tested in one fold is validated on in another, so that folds share no choice.
        """
        return self.name if self.fold else self.backbone

    @property
    def study(self) -> Path:
        return self.folder.parent.parent

    @property
    def split(self) -> Path:
        """The images, and without folds their parts, of all trainings, whatever has come to the data since."""
        return self.study / "split.csv"

    @property
    def log(self) -> Path:
        return self.study / "logs" / f"{self.folder.name}.txt"

    @property
    def failure(self) -> Path:
        """Holds the reason, if the last attempt failed."""
        return self.folder.with_name(f"{self.folder.name}.failed.txt")

    @property
    def finished(self) -> bool:
        return "test" in Run(self.folder).read_metrics()


class Workers:
    """Takes the jobs one after another, ``at_once`` at a time.

    Args:
        task: "classify" or "detect".
        jobs: All trainings of the study.
        options_of: The options of a job's training, but for a rate that validation has to choose.
        tuned: Whether it has.
        quiet: Whether the trainings write to their logs even one at a time.
        poll: Seconds between looks at what others do.
    """

    def __init__(
        self,
        task: str,
        jobs: Sequence[Job],
        options_of: Callable,
        tuned: bool,
        at_once: int,
        quiet: bool,
        poll: float,
        say: Say,
    ):
        self.task, self.jobs, self.options_of, self.tuned = task, jobs, options_of, tuned
        self.at_once, self.quiet, self.poll, self.say = at_once, quiet, poll, say
        self.began = time.time()
        self.stopped = threading.Event()

    def run(self) -> None:
        with ThreadPoolExecutor(self.at_once) as pool:
            workers = [pool.submit(self._work) for _ in range(self.at_once)]
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
            if not said and self.at_once == 1:
                self.say(f"Waiting for {len(elsewhere)} trainings elsewhere, such as {elsewhere[0].name}.")
                said = True
            self.stopped.wait(self.poll)

    def _ended(self, job: Job) -> bool:
        """Whether it is finished, or has failed since this command began."""
        return job.finished or (job.failure.exists() and job.failure.stat().st_mtime >= self.began)

    def _attempt(self, job: Job) -> bool:
        """Train, unless another worker is at it or at the choice of its learning rate; whether it was ours."""
        if self.stopped.is_set():
            return True
        try:
            with FileLock(job.folder.with_name(f".{job.folder.name}.lock"), timeout=0):
                if not self._ended(job):
                    with self._choice(job):
                        self._train(job)
                return True
        except Timeout:
            return False

    def _choice(self, job: Job) -> contextlib.AbstractContextManager:
        """A lock on the choice of a job's learning rate, if that is still to be made."""
        if not self._chooses(job):
            return contextlib.nullcontext()
        return FileLock(job.study / f".{job.rate.replace('/', '-')}.rate.lock", timeout=0)

    def _chooses(self, job: Job) -> bool:
        return self.tuned and not Run.is_run(job.folder) and chosen_rate(job.study / RATES, job.rate) is None

    def _train(self, job: Job) -> None:
        job.failure.unlink(missing_ok=True)
        options = self.options_of(job)
        try:
            if self._chooses(job):
                self.say(f"{job.rate}: choosing the learning rate on validation.")
                self._in_process(job, _sweep_in_child, options, job.study / RATES, job.rate, job.split)
                if self._chooses(job):  # the child was interrupted
                    raise KeyboardInterrupt
            new = options
            if Run.is_run(job.folder):
                machine = {"workers": options.workers, "data_root": options.data_root}
                options = replace(type(options)(), resume=str(job.folder), **machine)
                self.say(f"{job.name}: going on.")
            else:
                rate = chosen_rate(job.study / RATES, job.rate) if self.tuned else None
                options = replace(options, output=str(job.folder), **({"lr": rate} if rate else {}))
                self.say(f"{job.name}: training" + (f" at learning rate {rate:.2g}." if rate else "."))
            self._in_process(job, _train_in_child, self.task, options, new, job.split)
        except ENDED as error:
            if self.stopped.is_set():
                return
            reason = reason_of(error)
            write_atomic(job.failure, reason + "\n")
            self.say(f"{job.name} failed, the rest goes on: {reason}")
            return
        if not job.finished:  # the child was interrupted
            raise KeyboardInterrupt
        self.say(f"{job.name}: finished.")

    def _in_process(self, job: Job, function: Callable, *args) -> None:
        log = str(job.log) if self.at_once > 1 or self.quiet else None
        torch.multiprocessing.start_processes(
            function, (threads_each(self.at_once), log, *args), nprocs=1, start_method="spawn"
        )


def threads_each(at_once: int) -> int:
    """Threads of each of several trainings at once."""
    return max(1, torch.get_num_threads() // at_once)


def _train_in_child(_: int, threads: int, log: str | None, task: str, options, new, split: Path) -> None:
    """What the process of a training does, with the images that the study keeps in the file ``split``.

    Args:
        new: The options of a training that does not go on, which say its parts.
    """
    load: Callable
    if task == "classify":
        from mixtransfer.classification.train import train

        load = training_images
    else:
        from mixtransfer.detection.train import train  # type: ignore[assignment]

        load = training_boxes
    with _prepared(threads, log):
        # A run that goes on has parts of its own, unless it was killed before it could write them.
        train(options, split=_parts(new, split, load))


def _sweep_in_child(_: int, threads: int, log: str | None, options, file: Path, name: str, split: Path) -> None:
    """What the process does that chooses a learning rate."""
    with _prepared(threads, log):
        sweep(options, file, name, _parts(options, split, training_images))


def _parts(options, file: Path, load: Callable) -> Split:
    """The parts of a training, of the images that the study keeps in a file."""
    split = kept_split(file, lambda: load(options))
    if fold := getattr(options, "fold", None):  # detectors have none
        return split.dealt(Draw(options.val_fraction, options.test_fraction, options.split_seed, fold))
    return split


@contextlib.contextmanager
def _prepared(threads: int, log: str | None) -> Iterator[None]:
    prepare_process()
    torch.set_num_threads(threads)
    with contextlib.ExitStack() as stack:
        if log:
            file = stack.enter_context(Path(log).open("a", encoding="utf-8", buffering=1))
            stack.enter_context(contextlib.redirect_stdout(file))
            stack.enter_context(contextlib.redirect_stderr(file))
        try:
            yield
        except Interrupted as stop:
            raise KeyboardInterrupt from stop  # which the parent understands


def reason_of(error: Exception) -> str:
    """One line of why a process ended."""
    if signal := getattr(error, "signal_name", None):
        hint = ", probably for want of memory" if signal == "SIGKILL" else ""
        return f"It was ended by {signal}{hint}."
    last = str(error).strip().splitlines()[-1]
    return last.removeprefix("mixtransfer.errors.UserError: ")
