"""`compare` as the command line runs it: compare, then print."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from mixtransfer.classification.metrics import Estimate
from mixtransfer.commandline.console import print_table
from mixtransfer.common.messages import silent, tell
from mixtransfer.comparison.compare import run_comparison
from mixtransfer.comparison.options import CompareOptions
from mixtransfer.comparison.rows import Row, score_name
from mixtransfer.comparison.statistics import signed
from mixtransfer.comparison.verdict import Claim, beside, choose
from mixtransfer.deploy.runtimes import RUNTIMES


def compare(options: CompareOptions) -> int:
    if options.paper:
        from mixtransfer.comparison.ledger import print_ledger

        print_ledger(options.json)
        return 0
    made = run_comparison(options, silent if options.json else tell)
    if options.json:
        print(made.file.read_text(encoding="utf-8"), end="")
    else:
        _print(made.rows, made.baseline, options.task, made.words, made.folder)
    return 0 if any(row.runs for row in made.rows) else 2


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
    runtimes = {row.cost.fastest: RUNTIMES[row.cost.fastest].label for row in rows if row.cost and row.cost.fastest}
    where = next(iter(runtimes.values())) if len(runtimes) == 1 else "each one's fastest runtime"
    caption += ["with 95 % intervals" + (f"; ms: latency of one image in {where}, here" if runtimes else "")]
    table = Table(caption="; ".join(caption), caption_justify="left")
    table.add_column("backbone", no_wrap=True)
    for column in (f"{score_name(rows)} %", "less", "verdict", "params M", "MACs M", "ms"):
        score = column.endswith("%")  # others can be broken into lines and stay whole
        table.add_column(column, justify="left" if column == "verdict" else "right", no_wrap=score)
    for row in rows:
        claim = row.claims.get(baseline.backbone) if baseline else None
        cells = [_score(row.score), _difference(claim), beside(row, best)]
        if row.cost:
            latency = row.cost.latency.get(row.cost.fastest or "")
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
    interval = f"\n{' to '.join(map(signed, claim.interval))}" if claim.interval else ""
    return signed(claim.difference.value) + interval
