"""The trials in Optuna's storage, and the trainings of each in folders of their own, which can go on."""

import contextlib
import hashlib
import json
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from mixtransfer.classification.options import TrainOptions
from mixtransfer.classification.train import train
from mixtransfer.common.messages import silent
from mixtransfer.data.draw import Draw
from mixtransfer.data.split_file import Split
from mixtransfer.errors import Interrupted, UserError
from mixtransfer.runs.run import Run
from mixtransfer.runs.trials import open_study
from mixtransfer.tune.options import TuneOptions
from mixtransfer.tune.space import Settings, changed, distributions, settings_of

Say = Callable[[str], None]

RANDOM = 8  # trials that are drawn before the sampler models them
UNPRUNED = 4  # trials that are not ended early, to have something to compare with
DEFAULT = "default"  # folder of the defaults


@dataclass(frozen=True)
class Tried:
    """Settings that were tried on all folds.

    Attributes:
        losses: Log loss on each fold.
    """

    settings: Settings
    losses: tuple[float, ...]

    @property
    def loss(self) -> float:
        return float(np.mean(self.losses))

    def gain(self, default: "Tried") -> tuple[float, float]:
        """By how much the log loss is less than the defaults', and the standard error of that over the folds."""
        gains = np.subtract(default.losses, self.losses)
        return float(gains.mean()), float(gains.std(ddof=1) / len(gains) ** 0.5)


class Study:
    """The trials of a folder.

    Args:
        folder: Of the trials; without a storage of its own it holds ``trials.sqlite3``.
        options: What to train, and how often.
        base: Options of the trainings, with the defaults open.
        splits: Of the trainings of a trial, see ``folds_of``.

    Raises:
        UserError: Optuna is missing, or the storage cannot be used or holds trials of something else.
    """

    def __init__(self, folder: Path, options: TuneOptions, base: TrainOptions, splits: Sequence[Split], say: Say):
        optuna, self.study = open_study(folder, options.storage, "tune")
        self.optuna, self.folder, self.options, self.say = optuna, folder, options, say
        self.base, self.splits = base, splits
        seed = options.seed + len(self.study.get_trials(deepcopy=False))
        of = digest_of(base, splits)
        if self.study.user_attrs.setdefault("of", of) != of:
            raise UserError(
                "The trials kept here are of other images or options: choose another --output, and with --storage a "
                "folder of another name."
            )
        self.study.set_user_attr("of", of)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of older versions
            self.study.sampler = optuna.samplers.TPESampler(
                seed=seed, n_startup_trials=RANDOM, multivariate=True, constant_liar=True
            )
        self.distributions: dict[str, Any] = {}

    def run(self) -> None:
        """Try the defaults, then others until there are as many trials as asked for, or the time is over.

        Raises:
            UserError: The defaults cannot be trained.
            KeyboardInterrupt: Ctrl-C; the same call goes on.
        """
        with contextlib.ExitStack() as whole:
            try:
                whole.enter_context(FileLock(self.folder / "trials" / ".seeded.lock").acquire(timeout=0))
            except Timeout:
                self.study.sampler.reseed_rng()  # two processes with one seed would try the same
            self._run()

    def _run(self) -> None:
        began = time.monotonic()
        default = self.default()
        states = self.optuna.trial.TrialState
        failed = 0
        with self._asking():
            self.study.enqueue_trial(default.settings, skip_if_exists=True)
            self._give_back()
        while len(self.finished()) < self.options.trials:
            if self.options.minutes and time.monotonic() - began > 60 * self.options.minutes:
                self.say(f"The {self.options.minutes:g} minutes are over.")
                return
            with contextlib.ExitStack() as claims:
                with self._asking():  # nobody shall take a trial for one whose process has ended
                    trial = self.study.ask(self.distributions)
                    claims.enter_context(self._claim(trial.number))
                try:
                    loss = self._try(trial)
                except self.optuna.TrialPruned:
                    self.study.tell(trial, state=states.PRUNED)
                except UserError as error:
                    self.study.tell(trial, state=states.FAIL)
                    self.say(f"Trial {trial.number} failed: {error}")
                    failed += 1
                    if failed > self.options.trials:
                        raise UserError(f"Most trials fail, the last one so: {error}") from error
                else:
                    self.study.tell(trial, loss)

    def default(self) -> Tried:
        """The defaults on every fold; what they are for these images is then known."""
        losses = [self._train(self.base, DEFAULT, fold) for fold in range(self.options.folds)]
        resolved = Run(self._place(DEFAULT, 0)).options(TrainOptions)
        self.distributions = distributions(resolved, self.options.image_size is None)
        return Tried(settings_of(resolved, self.distributions), tuple(losses))

    def finished(self) -> list[Any]:
        """Optuna's trials that were tried on all folds or ended early."""
        states = self.optuna.trial.TrialState
        return self._in(states.COMPLETE, states.PRUNED)

    def tried(self) -> list[Tried]:
        """What was tried on all folds, the best first."""
        complete = self._in(self.optuna.trial.TrialState.COMPLETE)
        found = [Tried(trial.params, tuple(trial.user_attrs["losses"])) for trial in complete]
        return sorted(found, key=lambda one: one.loss)

    def importance(self) -> dict[str, float]:
        """How much of the variation of the loss each setting explains, by fANOVA; empty where too few were tried."""
        if len(self.tried()) < RANDOM:
            return {}
        evaluator = self.optuna.importance.FanovaImportanceEvaluator(seed=0)
        try:
            return dict(self.optuna.importance.get_param_importances(self.study, evaluator=evaluator))
        except (RuntimeError, ValueError):  # such as losses that are all alike
            return {}

    def _try(self, trial: Any) -> float:
        options = changed(self.base, trial.params)
        name = DEFAULT if trial.params == self.default_settings() else named(trial.params)
        losses: list[float] = []
        for fold in range(self.options.folds):
            losses.append(self._train(options, name, fold))
            if not np.isfinite(losses[-1]):
                raise UserError("the log loss is no number.")
            if fold + 1 < self.options.folds and self._is_worse(losses):
                self.say(f"Trial {trial.number}: log loss {np.mean(losses):.4f} after fold {fold + 1}, ended early.")
                raise self.optuna.TrialPruned
        trial.set_user_attr("losses", losses)
        said = ", ".join(f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
                         for key, value in trial.params.items())  # fmt: skip
        self.say(f"Trial {trial.number}: log loss {np.mean(losses):.4f} ({said}).")
        return float(np.mean(losses))

    def _is_worse(self, losses: Sequence[float]) -> bool:
        """Whether settings are worse on these first folds than half of those that were tried on all."""
        others = [float(np.mean(one.losses[: len(losses)])) for one in self.tried()]
        return len(others) >= UNPRUNED and float(np.mean(losses)) > float(np.median(others))

    def default_settings(self) -> Settings:
        return settings_of(Run(self._place(DEFAULT, 0)).options(TrainOptions), self.distributions)

    def _train(self, options: TrainOptions, name: str, fold: int) -> float:
        """Log loss of the fold that a training did not see, which goes on if it was interrupted."""
        run = trained(self._place(name, fold), options, self.splits[fold])
        return float(run.read_metrics()["log_loss"]["test"]["value"])

    def _place(self, name: str, fold: int) -> Path:
        return self.folder / "trials" / name / f"fold-{fold + 1}"

    def _claim(self, number: int) -> FileLock:
        """What shows other processes that a trial is being worked on, as long as this one lives."""
        return FileLock(self.folder / "trials" / f".{number}.lock")

    def _asking(self) -> FileLock:
        """Held while a trial is taken and claimed, or what nobody works on is looked for."""
        return FileLock(self.folder / "trials" / ".asking.lock")

    def _give_back(self) -> None:
        """Have trials whose processes have ended tried again; what is finished of them is not trained anew."""
        states = self.optuna.trial.TrialState
        for trial in self._in(states.RUNNING):
            with contextlib.suppress(Timeout), self._claim(trial.number).acquire(timeout=0):
                self.study.tell(trial.number, state=states.FAIL)
                self.study.enqueue_trial(trial.params)

    def _in(self, *states: Any) -> list[Any]:
        return self.study.get_trials(deepcopy=False, states=states)


def named(settings: Settings) -> str:
    """The folder of some settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def trained(folder: Path, options: TrainOptions, split: Split) -> Run:
    """The run of a training in this folder, which is begun, goes on, or is finished already.

    Raises:
        UserError: It cannot be trained.
        KeyboardInterrupt: Ctrl-C; the same call goes on.
    """
    run = Run(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):  # the defaults are everybody's
        if "test" not in run.read_metrics():
            begun = Run.is_run(folder)
            how = replace(TrainOptions(), resume=str(folder)) if begun else replace(options, output=str(folder))
            try:
                train(how, silent, None if begun else split)
            except Interrupted as stop:  # which says how this training goes on, not the whole
                raise KeyboardInterrupt from stop
    return run


def digest_of(base: TrainOptions, splits: Sequence[Split]) -> str:
    """What trials are of: equal for the same images in the same folds and the same options."""
    free = ("data", "data_root", "workers", "precision")
    options = {key: value for key, value in asdict(base).items() if key not in free}
    images = [[list(split.names), list(split.parts)] for split in splits]
    return hashlib.sha256(json.dumps([options, images], sort_keys=True).encode()).hexdigest()


def folds_of(split: Split, count: int, seed: int) -> list[Split]:
    """Splits of the images that are not to be tested on, of which each tests on another part; groups stay whole.

    Raises:
        TooFew: A class cannot be in every part.
    """
    kept = [i for i, part in enumerate(split.parts) if part != "test"]

    def of(values: Sequence[str]) -> list[str]:
        return [values[i] for i in kept] if values else []

    names, labels, parts, groups = (of(column) for column in (split.names, split.labels, split.parts, split.groups))
    pool = Split(names, labels, parts, groups, of(split.digests), multilabel=split.multilabel)
    return [pool.dealt(Draw(seed=seed, fold=f"{number}/{count}")) for number in range(1, count + 1)]
