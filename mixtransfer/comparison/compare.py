"""A comparison: trainings of a study, or runs that exist already, gathered, judged and written."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mixtransfer.common.messages import tell
from mixtransfer.common.signals import interruptible
from mixtransfer.comparison.fronts import Limit
from mixtransfer.comparison.options import CompareOptions
from mixtransfer.comparison.outcomes import Place
from mixtransfer.comparison.report import write_comparison
from mixtransfer.comparison.rows import Row, gather
from mixtransfer.comparison.study import run_study
from mixtransfer.comparison.verdict import verdict
from mixtransfer.comparison.workers import Job, Say
from mixtransfer.errors import UserError
from mixtransfer.runs.model_card import CLASSIFIERS, ModelCard
from mixtransfer.runs.run import Run


@dataclass(frozen=True)
class Comparison:
    """What came of a comparison.

    Attributes:
        folder: With ``report.html``, ``comparison.json`` and the figures.
        rows: One a backbone.
        baseline: That of the backbone with which the others are compared, if it has results.
        words: The sentences of the verdict.
    """

    folder: Path
    rows: list[Row]
    baseline: Row | None
    words: list[str]

    @property
    def file(self) -> Path:
        return self.folder / "comparison.json"

    def to_list(self) -> list[dict]:
        """The contents of ``comparison.json``, one object a backbone."""
        return json.loads(self.file.read_text(encoding="utf-8"))


def run_comparison(options: CompareOptions, say: Callable[[str], None] = tell) -> Comparison:
    """Train what the study lacks, or read the runs that are given, and compare.

    Raises:
        UserError: An option, the data or a run cannot be used.
        Interrupted: Ctrl-C; the same options go on.
    """
    limits = Limit.parse(options.limit) if options.limit else []
    if options.margin is not None and not 0 < options.margin < 100:
        raise UserError(f"--margin is {options.margin:g}; it must be more than 0 and less than 100 points.")
    margin = options.margin and options.margin / 100
    if options.data and all(Run.is_run(one) for one in options.data) and not _is_study(options.data):
        folder, title, runs, failures = _given_runs(options, say)
    else:
        with interruptible(lambda: "The same command goes on."):
            folder, jobs = run_study(options, say)
        title = f"Comparison on {Path(options.data[0]).name if options.data else folder.name}"
        runs, failures = _by_backbone(jobs)
    rows, reference = gather(runs, failures, options.task, options.baseline, margin, options.rounds, say)
    words = verdict(rows, reference, limits, margin)
    write_comparison(folder, options, title, rows, reference, words)
    return Comparison(folder, rows, reference, words)


def _is_study(data: Sequence[str]) -> bool:
    return len(data) == 1 and "seeds" in Run(Path(data[0])).read_config()


def _given_runs(options: CompareOptions, say: Say) -> tuple[Path, str, dict[str, list[Run]], dict[str, list[str]]]:
    """Runs that exist already, by backbone; runs that differ in more than the seed get a name of their own."""
    tasks = CLASSIFIERS if options.task == "classify" else ("detection",)
    runs: dict[str, list[Run]] = {}
    found: dict[str, tuple[dict, Run]] = {}
    for path in dict.fromkeys(Path(one).resolve() for one in options.data):
        run = Run.open(path)
        card = ModelCard.read(run.model, *tasks)
        values = run.read_config()
        free = ("seed", "output", "resume", "logger", *(("fold", "split_seed", "lr") if values.get("fold") else ()))
        settings = {"loss": "cross_entropy"} | {key: value for key, value in values.items() if key not in free}
        name = card.backbone
        if name in found and found[name][0] != settings:
            name = f"{card.backbone} ({run.folder.name})"
        found.setdefault(name, (settings, run))
        runs.setdefault(name, []).append(run)
    if options.baseline and options.baseline not in runs:
        raise UserError(f"--baseline {options.baseline} is not among the runs' backbones: {', '.join(runs)}.")
    if len(runs) < 2:
        raise UserError("Give two or more runs of different backbones or settings, or a dataset.")
    for its in runs.values():
        its.sort(key=lambda run: run.read_config().get("seed", 0))
        places: dict[Place, Run] = {}
        for run in its:
            if (same := places.setdefault(Place.of(run), run)) is not run:
                raise UserError(f"{same.folder} and {run.folder} are the same training, of one seed: give one.")
    sources = dict.fromkeys(str(run.read_config().get("data")) for its in runs.values() for run in its)
    if len(sources) > 1:
        say(f"Test images of the same name are taken to be the same in {', '.join(sources)}.")
    folder = Path(options.output or Path("runs") / "comparison")
    if (folder / "config.yaml").exists():
        raise UserError(f"{folder} holds a run or a study: choose another --output.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder, f"Comparison of {sum(map(len, runs.values()))} runs", runs, {}


def _by_backbone(jobs: Sequence[Job]) -> tuple[dict[str, list[Run]], dict[str, list[str]]]:
    runs: dict[str, list[Run]] = {}
    failures: dict[str, list[str]] = {}
    for job in jobs:
        its = runs.setdefault(job.backbone, [])
        if job.finished:
            its.append(Run(job.folder))
        elif job.failure.exists():
            failures.setdefault(job.backbone, []).append(f"{job.place}: {job.failure.read_text().strip()}")
    return runs, failures
