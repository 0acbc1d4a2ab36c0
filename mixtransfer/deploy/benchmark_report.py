"""What a benchmark writes and prints: ``report.html``, ``benchmark.json``, the figure, the table."""

import json
from pathlib import Path

from matplotlib.figure import Figure

from mixtransfer.common.files import write_atomic
from mixtransfer.deploy.benchmark import Benchmark, Speed
from mixtransfer.deploy.options import BenchmarkOptions
from mixtransfer.deploy.runtimes import RUNTIMES
from mixtransfer.errors import UserError
from mixtransfer.report.circumstances import add_circumstances
from mixtransfer.report.figures import BLUE, GREY, ORANGE, calm, save_figures
from mixtransfer.report.page import Page

COLUMNS = ("runtime", "threads", "batch", "calls", "p50 ms", "p90", "p99", "images/s", "MB", "peak", "mJ")


def write_benchmark(options: BenchmarkOptions, result: Benchmark) -> Path:
    """Write everything into ``options.output``, by default a folder under runs/ with the model's name.

    Returns:
        The page.

    Raises:
        UserError: The folder cannot be written.
    """
    folder = Path(options.output or Path("runs") / f"benchmark-{Path(options.model).stem}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        figure = latencies(result)
        save_figures({"latency": figure}, folder / "figures")
        _write_page(folder / "report.html", options, result, figure)
        write_atomic(folder / "benchmark.json", json.dumps(result.to_dict(), indent=2) + "\n")
    except OSError as error:
        raise UserError(f"The output folder {folder} cannot be written ({error.strerror}).") from error
    return folder / "report.html"


def cells(speed: Speed) -> list[str]:
    """A row of the table with ``COLUMNS``."""
    return [
        RUNTIMES[speed.runtime].label,
        str(speed.threads),
        str(speed.batch),
        f"{speed.calls:,}",
        *("" if value is None else f"{value:.2f}" for value in speed.milliseconds.values()),
        f"{speed.images_per_second:.1f}",
        "" if speed.memory is None else f"{speed.memory / 1e6:.0f}",
        "" if speed.share is None else f"{100 * speed.share:.0f} %",
        "" if speed.joules is None else f"{1000 * speed.joules:.0f}",
    ]


def peaks(result: Benchmark) -> str:
    """What the peak is, and what of the machine was used, in words."""
    measured = ", ".join(
        f"{2e-9 * rate:.0f} GFLOP/s with {count} thread{'s' * (count > 1)}" for count, rate in result.peak.items()
    )
    state = "; ".join(f"{name} {value}" for name, value in result.processor.items())
    return f"Peak: {measured}, in a product of large float32 matrices. Processor: {state}."


def latencies(result: Benchmark) -> Figure:
    """A panel for each batch size: median latency by runtime and threads, with a whisker to the 90th percentile."""
    batches = sorted({speed.batch for speed in result.speeds})
    ways = list(dict.fromkeys((speed.runtime, speed.threads) for speed in result.speeds))
    figure = Figure(figsize=(4.6 * len(batches), 1 + 0.36 * len(ways)), layout="constrained")
    runtimes = list(dict.fromkeys(runtime for runtime, _ in ways))
    colours = dict(zip(runtimes, (GREY, BLUE, ORANGE), strict=False))
    for axes, batch in zip(figure.subplots(1, len(batches), sharey=True, squeeze=False)[0], batches, strict=True):
        chosen = {(speed.runtime, speed.threads): speed for speed in result.speeds if speed.batch == batch}
        middle, high = ([chosen[way].milliseconds[name] or 0 for way in ways] for name in ("p50", "p90"))
        above = [top - value for top, value in zip(high, middle, strict=True)]
        names = [f"{RUNTIMES[runtime].label}, {count} thread{'s' * (count > 1)}" for runtime, count in ways]
        bars = axes.barh(
            names, middle, xerr=[[0] * len(ways), above],
            color=[colours.get(runtime, GREY) for runtime, _ in ways], capsize=2.5, error_kw={"elinewidth": 1},
        )  # fmt: skip
        axes.bar_label(bars, [f"{value:.1f}" for value in middle], label_type="center", color="w", fontsize=8)
        axes.set(xlabel="ms", title="one image" if batch == 1 else f"{batch} images")
        calm(axes)
    axes.invert_yaxis()
    return figure


def _write_page(path: Path, options: BenchmarkOptions, result: Benchmark, figure: Figure) -> None:
    cost = f", {result.macs / 1e6:.0f} million multiply-adds an image" if result.macs else ""
    page = Page(f"Speed of {result.name}", f"At {result.image_size} pixels{cost}, on this machine's processor.")
    best = result.fastest
    page.headline(
        [
            ("fastest", RUNTIMES[best.runtime].label, f"{best.threads} thread{'s' * (best.threads > 1)}"),
            ("latency", f"{best.milliseconds['p50']:.2f} ms", f"p90 {best.milliseconds['p90']:.2f} ms"),
            ("most images/s", f"{max(speed.images_per_second for speed in result.speeds):.0f}", ""),
        ]
    )
    for runtime, reason in result.unavailable.items():
        page.warning(f"{RUNTIMES[runtime].label}: {reason}")
    page.section("Latency", "Measured in turns, so that whatever else the machine did hit all alike.")
    page.figure(figure, "Median latency of a batch; the whisker goes to the 90th percentile.")
    page.table(COLUMNS, [cells(speed) for speed in result.speeds])
    page.note(
        f"{peaks(result)} Percentiles are of single calls; the 99th is told of 1,000 or more (--seconds). Memory is "
        "what the batch needs at most beyond a process that has not opened the model; it is measured in one of its "
        "own. Energy (millijoules an image) is that of all cores, where the machine tells it."
    )
    add_circumstances(page, options, {}, {}, ["onnxruntime", "openvino"])
    page.write(path)
