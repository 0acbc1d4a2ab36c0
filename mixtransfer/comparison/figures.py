"""The paper's Figure 9 for the user's data: score against each cost, with intervals and the front."""

from collections.abc import Callable, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, PercentFormatter, StrMethodFormatter

from mixtransfer.comparison.fronts import front
from mixtransfer.comparison.rows import Row
from mixtransfer.comparison.verdict import beside
from mixtransfer.deploy.runtimes import RUNTIMES
from mixtransfer.report.figures import BLUE, GREY, ORANGE, calm

# Label of the axis, and what to divide by.
AXES = {
    "macs": ("multiply-adds (millions)", 1e6),
    "params": ("parameters (millions)", 1e6),
    "size": ("size of the weights (MB)", 1e6),
    "memory": ("memory for 16 images (MB)", 1e6),
    "latency": ("latency of one image, in each one's fastest runtime (ms)", 1e-3),
    **{f"latency.{name}": (f"latency of one image, {kind.label} (ms)", 1e-3) for name, kind in RUNTIMES.items()},
}


# How each verdict beside the chosen backbone is drawn: marker, and whether it is filled.
MARKERS = {
    "chosen": ("*", True),
    "as good": ("D", True),
    "not told apart": ("o", False),
    "one training": ("o", False),
    "worse": ("o", True),
    "better": ("^", True),
}


def score_against_cost(
    rows: Sequence[Row],
    name: str,
    cost: Callable[[Row], float | None],
    baseline: Row | None,
    best: Row | None,
    score: str,
) -> Figure:
    """A point with its 95 % interval for each backbone; the line joins those that no other beats in the test.

    Hollow points cannot be told apart from the chosen backbone, a star.

    Args:
        name: A key of ``AXES``.
        cost: See ``fronts.costs_of``.
        best: The backbone that validation has chosen.
        score: Label of the vertical axis.
    """
    label, unit = AXES[name]
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    unbeaten = front(rows, cost)
    points = [
        (row, spent / unit, row.score) for row in rows if row.score is not None and (spent := cost(row)) is not None
    ]
    line = sorted((x, estimate.value) for row, x, estimate in points if row in unbeaten)
    axes.plot(
        [x for x, _ in line], [value for _, value in line],
        color=BLUE, alpha=0.5, linewidth=1.5, drawstyle="steps-post", zorder=1,
    )  # fmt: skip
    for row, x, estimate in points:
        colour = ORANGE if row is baseline else BLUE if row in unbeaten else GREY
        value = estimate.value
        said = beside(row, best)
        marker, filled = MARKERS.get(said, ("o", True))
        axes.errorbar(
            x, value, [[value - estimate.low], [estimate.high - value]],
            fmt=marker, color=colour, markerfacecolor=colour if filled else "white",
            markersize=11 if marker == "*" else 6, capsize=3, elinewidth=1.2, zorder=2,
        )  # fmt: skip
        axes.annotate(
            _label(row, said), (x, value), xytext=(6, 5), textcoords="offset points", fontsize=8.5, parse_math=False
        )
    known = [x for _, x, _ in points if x]
    if known and max(known) > 8 * min(known):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set(xlabel=label, ylabel=score)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    axes.margins(x=0.18)
    calm(axes)
    return figure


def _label(row: Row, said: str) -> str:
    return f"{row.backbone} ({said})" if said in ("chosen", "as good", "not told apart") else row.backbone
