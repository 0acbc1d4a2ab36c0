"""`compare` as the command line runs it: train or read runs, compare, print."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from mixtransfer.classification.metrics import Estimate
from mixtransfer.comparison.fronts import Limit
from mixtransfer.comparison.options import CompareOptions
from mixtransfer.comparison.outcomes import Place
from mixtransfer.comparison.report import write_comparison
from mixtransfer.comparison.rows import SCORES, Row, gather
from mixtransfer.comparison.study import run_study
from mixtransfer.comparison.verdict import Claim, beside, choose, verdict
from mixtransfer.comparison.workers import Job, Say
from mixtransfer.console import print_table, silent
from mixtransfer.errors import UserError
from mixtransfer.run import ModelCard, Run
from mixtransfer.signals import interruptible


def compare(options: CompareOptions) -> int:
    if options.paper:
        from mixtransfer.comparison.ledger import print_ledger

        print_ledger(options.json)
        return 0
    limit = Limit.parse(options.limit) if options.limit else None
    if options.margin is not None and not 0 < options.margin < 100:
        raise UserError(f"--margin is {options.margin:g}; it must be more than 0 and less than 100 points.")
    margin = options.margin and options.margin / 100
    say = silent if options.json else print
    if options.data and all(Run.is_run(one) for one in options.data) and not _is_study(options.data):
        folder, title, runs, failures = _given_runs(options, say)
    else:
        with interruptible(lambda: "The same command goes on."):
            folder, jobs = run_study(options, say)
        title = f"Comparison on {Path(options.data[0]).name if options.data else folder.name}"
        runs, failures = _by_backbone(jobs)
    rows, reference = gather(runs, failures, options.task, options.baseline, margin, options.rounds, say)
    words = verdict(rows, reference, limit, margin)
    write_comparison(folder, options, title, rows, reference, words)
    if options.json:
        print((folder / "comparison.json").read_text(encoding="utf-8"), end="")
    else:
        _print(rows, reference, options.task, words, folder)
    return 0 if any(row.runs for row in rows) else 2


def _is_study(data: Sequence[str]) -> bool:
    return len(data) == 1 and "seeds" in Run(Path(data[0])).read_config()


def _given_runs(options: CompareOptions, say: Say) -> tuple[Path, str, dict[str, list[Run]], dict[str, list[str]]]:
    """Runs that exist already, by backbone; runs that differ in more than the seed get a name of their own."""
    task = {"classify": "classification", "detect": "detection"}[options.task]
    runs: dict[str, list[Run]] = {}
    found: dict[str, tuple[dict, Run]] = {}
    for path in dict.fromkeys(Path(one).resolve() for one in options.data):
        run = Run.open(path)
        card = ModelCard.read(run.model, task)
        values = run.read_config()
        free = ("seed", "output", "resume", *(("fold", "split_seed", "lr") if values.get("fold") else ()))
        settings = {key: value for key, value in values.items() if key not in free}
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


def _print(rows: Sequence[Row], baseline: Row | None, task: str, words: Sequence[str], folder: Path) -> None:
    _print_table(rows, baseline, task)
    for row in rows:
        for reason in row.failures:
            print(f"{row.backbone} failed: {reason}")
    for sentence in words:
        print(sentence)
    print(f"Report: {folder / 'report.html'}")


def _print_table(rows: Sequence[Row], baseline: Row | None, task: str) -> None:
    """What fits a terminal; the report has the rest."""
    best = choose(rows)
    caption = [f"less: than {baseline.backbone}"] if baseline else []
    caption += [f"verdict: beside {best.backbone}"] if best else []
    caption += ["with 95 % intervals; ms: latency of one image in PyTorch, here"]
    table = Table(caption="; ".join(caption), caption_justify="left")
    table.add_column("backbone", no_wrap=True)
    for column in (f"{SCORES[task]} %", "less", "verdict", "params M", "MACs M", "ms"):
        score = column.endswith("%")  # others can be broken into lines and stay whole
        table.add_column(column, justify="left" if column == "verdict" else "right", no_wrap=score)
    for row in rows:
        claim = row.claims.get(baseline.backbone) if baseline else None
        cells = [_score(row.score), _difference(claim), beside(row, best)]
        if row.cost:
            latency = row.cost.latency.get("pytorch")
            cells += [f"{row.cost.params / 1e6:.2f}", f"{row.cost.macs / 1e6:.0f}"]
            cells.append(f"{1000 * latency.median:.1f}" if latency else "")
        table.add_row(_with_weights(row), *cells)
    print_table(table)


def _with_weights(row: Row) -> str:
    """Its name and what it started from, such as "resnet50.a1_in1k"."""
    if row.weights.startswith(f"{row.backbone}."):
        return row.weights
    return f"{row.backbone}\n{'from scratch' if row.weights == 'none' else row.weights}".strip()


def _score(estimate: Estimate | None) -> str:
    return f"{100 * estimate.value:.1f}\n{100 * estimate.low:.1f}–{100 * estimate.high:.1f}" if estimate else ""


def _difference(claim: Claim | None) -> str:
    if claim is None:
        return ""
    interval = "\n{:+.1f} to {:+.1f}".format(*(100 * end for end in claim.interval)) if claim.interval else ""
    return f"{100 * claim.difference.value:+.1f}{interval}"
