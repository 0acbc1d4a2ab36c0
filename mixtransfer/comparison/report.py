"""What a comparison writes: ``report.html``, ``comparison.json``, ``comparison.csv`` and the figures."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from mixtransfer.common.files import write_atomic
from mixtransfer.comparison.cost import BATCH
from mixtransfer.comparison.figures import score_against_cost
from mixtransfer.comparison.fronts import costs_of, front
from mixtransfer.comparison.rates import RATES, read_rates
from mixtransfer.comparison.rows import Row, score_name, to_dicts
from mixtransfer.comparison.statistics import signed
from mixtransfer.comparison.verdict import beside, choose
from mixtransfer.deploy.runtimes import RUNTIMES
from mixtransfer.report.circumstances import add_circumstances
from mixtransfer.report.figures import save_figures
from mixtransfer.report.page import Page

SCORE_TITLES = {"classify": "top-1 accuracy", "detect": "average precision"}


def write_comparison(
    folder: Path, options, title: str, rows: Sequence[Row], baseline: Row | None, verdict: Sequence[str]
) -> None:
    """Write everything into the study's folder.

    Args:
        options: ``CompareOptions``; the task decides what the score is called.
        title: What was compared, for the page's heading.
        verdict: Sentences.
    """
    task = options.task
    objects = to_dicts(rows, baseline)
    costs, best = costs_of(rows), choose(rows)
    for row, one in zip(rows, objects, strict=True):
        one["on_front"] = {cost: row in front(rows, of) for cost, of in costs.items()}
    drawn = {
        f"score_against_{cost.replace('.', '_')}": score_against_cost(
            rows, cost, of, baseline, best, SCORE_TITLES[task]
        )
        for cost, of in costs.items()
    }
    save_figures(drawn, folder / "figures")
    _write_page(folder, options, title, rows, baseline, verdict, drawn)
    write_atomic(folder / "comparison.csv", _csv(objects))
    # It comes last: where it is, the rest is whole.
    write_atomic(folder / "comparison.json", json.dumps(objects, indent=2, ensure_ascii=False) + "\n")


def _csv(objects: Sequence[dict]) -> str:
    """Nested keys are joined by dots; lists and what is missing stay out of the way."""
    flat = [dict(_flattened(one)) for one in objects]
    columns = list(dict.fromkeys(key for one in flat for key in one))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _flattened(value, prefix: str = ""):
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _flattened(part, f"{prefix}.{key}" if prefix else key)
    elif isinstance(value, list):
        if value and isinstance(value[0], dict):
            for i, part in enumerate(value):
                yield from _flattened(part, f"{prefix}.{i}")
        else:
            yield prefix, " ".join(map(str, value))
    else:
        yield prefix, "" if value is None else value


def _write_page(folder: Path, options, title, rows, baseline, verdict, drawn) -> None:
    page = Page(title, _summary(rows, options))
    for sentence in verdict:
        page.note(sentence)
    for row in rows:
        for reason in row.failures:
            page.warning(f"{row.backbone}: {reason}")
    figures = list(drawn.values())
    if figures:
        page.section("Accuracy against cost" if options.task == "classify" else "Average precision against cost")
        for figure in figures:
            page.figure(
                figure,
                "The line joins what nothing else beats on these test images. The star is what validation has chosen; "
                "hollow points cannot be told apart from it.",
            )
    page.section("Scores", _score_words(rows))
    page.table(*_score_table(rows, baseline, options.task))
    if baseline and any(row.mcnemar for row in rows):
        page.table(
            *_mcnemar_table(rows, baseline),
            "McNemar's exact test of two networks, those of one seed: whether they differ on other images. Of the "
            "backbones it says nothing, as other trainings give other networks.",
        )
    page.section("Cost", _cost_words(rows))
    page.table(*_cost_table(rows))
    page.table(*_training_table(rows), "Training")
    if rates := read_rates(folder / RATES):
        page.table(
            *_rates_table(rates),
            "Learning rates, chosen on validation by short trainings from the same start: the usual rate, unless "
            "another one's log loss is less by more than a standard error.",
        )
    add_circumstances(page, options, {}, {}, ["onnxruntime", "openvino"])
    page.write(folder / "report.html")


def _score_words(rows: Sequence[Row]) -> str:
    covers = {part for row in rows for part in row.covers}
    if "splits" in covers:
        varied = "over images, trainings and splits"
    elif "trainings" in covers:
        varied = "over test images and trainings"
    else:
        varied = "over test images only: one training says nothing of how much another would differ"
    return f"Intervals of 95 %, {varied}; each holds alone."


def _summary(rows: Sequence[Row], options) -> str:
    images = max((row.test_images for row in rows), default=0)
    seeds = max((row.seeds for row in rows), default=0)
    size = {row.cost.image_size for row in rows if row.cost}
    pixels = f" at {' or '.join(map(str, sorted(size)))} pixels" if size else ""
    trainings = f"{seeds} training{'s' * (seeds != 1)} each"
    if folds := getattr(options, "folds", None):
        trainings = f"trained {seeds} time{'s' * (seeds != 1)} on each of {folds} folds"
    return (
        f"{len(rows)} backbones, {trainings}, tested on {images:,} images{pixels}. "
        "Which weights a baseline starts from changes every comparison: they are in the configuration below."
    )


def _score_table(rows: Sequence[Row], baseline: Row | None, task: str) -> tuple[list[str], list[list[str]]]:
    """Columns and rows, in percent and points."""
    best = choose(rows)
    columns = ["backbone", "weights", "learning rate", f"{score_name(rows)} %", "interval"]
    columns += [f"less {baseline.backbone}" if baseline else "difference", "interval"]
    columns += [f"beside {best.backbone}" if best else "", "by seed %"]
    table = []
    for row in rows:
        if row.score is None:
            table.append([row.backbone, "", "", "failed", "", "", "", "", ""])
            continue
        claim = row.claims.get(baseline.backbone) if baseline else None
        less = claim.difference if claim else None
        between = claim.interval if claim else None
        table.append(
            [
                row.backbone,
                row.weights,
                f"{row.lr:.2g}" if row.lr else "",
                f"{100 * row.score.value:.2f}",
                f"{100 * row.score.low:.1f}–{100 * row.score.high:.1f}",
                signed(less.value, 2) if less else "",
                " to ".join(map(signed, between)) if between else "",
                beside(row, best),
                " ".join(f"{100 * value:.1f}" for value in row.by_seed),
            ]
        )
    return columns, table


def _mcnemar_table(rows: Sequence[Row], baseline: Row) -> tuple[list[str], list[list]]:
    columns = ["backbone", "training", "only this is right", f"only {baseline.backbone} is right", "p"]
    return columns, [
        [row.backbone, i + 1, test.only_first, test.only_second, f"{test.p:.3g}"]
        for row in rows
        for i, test in enumerate(row.mcnemar)
    ]


def _runtimes(rows: Sequence[Row]) -> list[str]:
    return [name for name in RUNTIMES if any(row.cost and name in row.cost.latency for row in rows)]


def _cost_table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows: sizes, and latency and throughput by runtime."""
    runtimes = _runtimes(rows)
    columns = ["backbone", "params M", "MACs M", "file MB", "memory MB"]
    for runtime in runtimes:
        columns += [f"{RUNTIMES[runtime].label} ms", f"{RUNTIMES[runtime].label} images/s"]
    table = []
    for row in rows:
        if row.cost is None:
            continue
        cost = row.cost
        cells = [row.backbone, f"{cost.params / 1e6:.2f}", f"{cost.macs / 1e6:.0f}", f"{cost.file_size / 1e6:.1f}"]
        cells.append("" if cost.memory is None else f"{cost.memory / 1e6:.0f}")
        for runtime in runtimes:
            time, speed = cost.latency.get(runtime), cost.throughput.get(runtime)
            cells.append(f"{1e3 * time.median:.1f} ({1e3 * time.low:.1f}–{1e3 * time.high:.1f})" if time else "–")
            cells.append(f"{speed:.1f}" if speed else "–")
        table.append(cells)
    return columns, table


def _cost_words(rows: Sequence[Row]) -> str:
    if not _runtimes(rows):
        return "Latency was not measured (--rounds 0)."
    return (
        f"Latency is of one image, throughput of {BATCH} at a time, measured in turns on this machine: medians, in "
        "brackets from the 10th to the 90th percentile. Memory is what 16 images need in a backbone's fastest runtime, "
        "beyond a process that has not opened the model."
    )


def _training_table(rows: Sequence[Row]) -> tuple[list[str], list[list]]:
    columns = ["backbone", "training", "learning rate", "minutes", "images/s", "memory MB", "run"]
    return columns, [
        [
            row.backbone,
            i + 1,
            f"{one['lr']:.2g}" if one["lr"] else "",
            f"{one['minutes']:.1f}" if one["minutes"] is not None else "",
            f"{one['images_per_second']:.1f}" if one["images_per_second"] else "",
            f"{one['memory_mb']:.0f}" if one["memory_mb"] else "",
            run.folder.name,
        ]
        for row in rows
        for i, (run, one) in enumerate(zip(row.runs, row.training, strict=True))
    ]


def _rates_table(rates: dict[str, dict]) -> tuple[list[str], list[list[str]]]:
    columns = ["backbone", "chosen", "tried: validation log loss", "epochs each", "minutes"]
    return columns, [
        [
            name,
            f"{entry['chosen']:.2g}" if entry.get("chosen") else "",
            "; ".join(f"{one['lr']:.2g}: {_loss(one['log_loss'])}" for one in entry["tried"]),
            entry["epochs"],
            f"{entry['seconds'] / 60:.1f}",
        ]
        for name, entry in rates.items()
        if entry.get("tried")
    ]


def _loss(value: float | None) -> str:
    return "diverged" if value is None else f"{value:.4f}"
