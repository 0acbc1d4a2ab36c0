"""Curves of a detector's classes, each by its name as far as there is room for names."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from mixtransfer.report.figures import BLUE, GREY, calm, short

NAMED = 10  # classes that have a colour and a name
_COLOURS = (
    "#d1762b",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#8c564b",
    "#b8a200",
    "#d62728",
    "#7b5ea7",
    "#17becf",
    "#5b6b1f",
)


def precision_recall(precision: np.ndarray, classes: Sequence[str], stacked: bool = False) -> Figure:
    """Precision by recall at IoU 0.5, at 0.75, and on the average of 0.5 to 0.95.

    Args:
        precision: At IoU 0.5, 0.55 … 0.95 and recalls 0, 0.01 … 1, shape (10, 101, classes); NaN for a class without
            objects.
        classes: Names.
        stacked: One above the other.
    """
    panels = {"IoU 0.5": precision[0], "IoU 0.75": precision[5], "IoU 0.5 to 0.95": precision.mean(axis=0)}
    return _panels(panels, classes, precision.mean(axis=(0, 1)), "recall", "precision", stacked)


def f1_over_threshold(f1: np.ndarray, classes: Sequence[str], thresholds: Sequence[float]) -> Figure:
    """F1 by the score from which on detections are shown; a dot where each class's threshold is.

    Args:
        f1: At thresholds 0, 0.01 … 1, shape (101, classes); NaN for a class without objects.
        classes: Names.
        thresholds: Of the classes.
    """
    grid = np.linspace(0, 1, len(f1))
    dots = [(one, float(np.interp(one, grid, f1[:, i]))) for i, one in enumerate(thresholds)]
    return _panels({"": f1}, classes, f1.max(axis=0), "threshold", "F1", False, dots)


def _panels(
    panels: dict[str, np.ndarray],
    classes: Sequence[str],
    rank: np.ndarray,
    x: str,
    y: str,
    stacked: bool,
    dots: Sequence[tuple[float, float]] = (),
) -> Figure:
    """A line a class in each panel, from 0 to 1. Of more than ``NAMED`` classes the best and the worst are named."""
    known = [i for i in np.argsort(-rank, kind="stable").tolist() if not np.isnan(rank[i])]
    half = NAMED // 2
    named = known if len(known) <= NAMED else [*known[:half], *known[-half:]]
    colours = dict(zip(named, _COLOURS, strict=False))
    count = len(panels)
    size = (5.6, 3.4 * count + 0.3) if stacked else (3.6 * count + 1.8, 3.7)
    figure = Figure(figsize=size, layout="constrained")
    every = np.atleast_1d(figure.subplots(count, 1) if stacked else figure.subplots(1, count, sharey=True))
    for axes, (title, lines) in zip(every, panels.items(), strict=True):
        steps = np.linspace(0, 1, len(lines))
        drawn = {}
        for i in sorted(known, key=lambda i: i in colours):
            style = {"color": colours[i], "linewidth": 1.3} if i in colours else {"color": GREY, "linewidth": 0.7}
            (drawn[i],) = axes.plot(steps, lines[:, i], label=short(classes[i]), **style)
            if dots:
                axes.plot(*dots[i], marker="o", markersize=4, color=style["color"])
        legend = [drawn[i] for i in named]
        if len(known) > 1:
            mean = lines[:, known].mean(axis=1)
            legend += axes.plot(steps, mean, color=BLUE, linewidth=2.5, label="mean of the classes")
        axes.set(xlabel=x, ylabel=y if stacked or axes is every[0] else None, title=title, xlim=(0, 1), ylim=(0, 1.02))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        if x == "recall":
            axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        calm(axes)
    if known:
        what = f"best and worst of {len(known)} classes" if len(known) > NAMED else None
        figure.legend(handles=legend, loc="outside right upper", frameon=False, fontsize=8, title=what)
    return figure
