"""Figures for reports, drawn without global state."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from mixtransfer.common.files import write_atomic

BLUE, ORANGE, GREY = "#1f5fa8", "#d1762b", "#9aa5b1"
LABELLED_CLASSES = 40


def learning_curves(history: Sequence[Mapping[str, float | None]], stacked: bool = False) -> Figure:
    """Loss and validation accuracy by epoch, side by side or one above the other.

    Args:
        history: Rows with ``epoch`` and, where known, ``train_loss``, ``val_loss`` and ``val_top1`` or, of several
            labels, ``val_mAP`` (fractions).
        stacked: One above the other.
    """
    loss = {"train_loss": ("training", BLUE), "val_loss": ("validation", ORANGE)}
    several = any("val_mAP" in row for row in history)
    validated = {"val_mAP" if several else "val_top1": ("validation", ORANGE)}
    figure, (_, accuracy) = _curves(history, "epoch", stacked, loss, validated)
    accuracy.set(ylabel="mean average precision" if several else "top-1 accuracy")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure


def detector_curves(history: Sequence[Mapping[str, float | None]], stacked: bool = False) -> Figure:
    """Training losses and validation average precision by iteration, side by side or one above the other.

    Args:
        history: Rows with ``iteration``, ``loss_cls``, ``loss_box_reg``, and ``AP`` and ``AP50`` in percent.
        stacked: One above the other.
    """
    loss = {"loss_cls": ("classes", BLUE), "loss_box_reg": ("boxes", GREY)}
    found = {"AP": ("AP", ORANGE), "AP50": ("AP50", BLUE)}
    figure, (_, precision) = _curves(history, "iteration", stacked, loss, found)
    precision.set(ylabel="validation AP (%)")
    return figure


def counts(values: Mapping[str, int], label: str) -> Figure:
    """A horizontal bar for each name, the first on top."""
    figure = Figure(figsize=(6, 0.6 + 0.36 * len(values)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh([short(name) for name in values], list(values.values()), color=BLUE)
    axes.bar_label(bars, padding=3)
    axes.invert_yaxis()
    axes.set(xlabel=label)
    calm(axes)
    return figure


def _curves(
    history: Sequence[Mapping[str, float | None]], x: str, stacked: bool, *panels: Mapping[str, tuple[str, str]]
):
    """A figure with two panels over ``x``, the first of losses; each column has its label and colour."""
    figure = Figure(figsize=(4.6, 6.4) if stacked else (9, 3.4), layout="constrained")
    both = figure.subplots(2, 1) if stacked else figure.subplots(1, 2)
    for axes, columns in zip(both, panels, strict=True):
        for key, (label, colour) in columns.items():
            points = [(row[x], row[key]) for row in history if row.get(key) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), color=colour, marker="o", markersize=3.5, label=label)
        axes.set(xlabel=x)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        calm(axes)
        if axes.lines:
            axes.legend(frameon=False)
    both[0].set(ylabel="loss (nats)" if x == "epoch" else "loss")
    return figure, both


def confusion_matrix(matrix: np.ndarray, classes: Sequence[str]) -> Figure:
    """Shares of each true class by predicted class.

    Args:
        matrix: Counts of (true, predicted), shape (classes, classes).
    """
    count = len(classes)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = float(np.clip(2.2 + 0.24 * count, 4, 11))
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    bar = figure.colorbar(picture, ax=axes, fraction=0.04, pad=0.02, format=PercentFormatter(1, decimals=0))
    bar.outline.set_visible(False)
    axes.set(xlabel="predicted", ylabel="true")
    if count <= LABELLED_CLASSES:
        size = 9 if count <= 20 else 7
        axes.set_xticks(range(count), [short(name) for name in classes], rotation=90, fontsize=size)
        axes.set_yticks(range(count), [short(name) for name in classes], fontsize=size)
    if count <= 15:
        for i, j in zip(*np.nonzero(matrix), strict=True):
            axes.text(
                j, i, matrix[i, j], ha="center", va="center", fontsize=8, color="w" if shares[i, j] > 0.5 else "k"
            )
    return figure


def estimates(scores: Mapping[str, Any]) -> Figure:
    """Shares with their intervals, one above the other.

    Args:
        scores: By name; each has ``value``, ``low`` and ``high``.
    """
    figure = Figure(figsize=(6, 1.0 + 0.26 * len(scores)), layout="constrained")
    axes = figure.subplots()
    values, low, high = (np.array([getattr(one, name) for one in scores.values()]) for name in ("value", "low", "high"))
    places = np.arange(len(scores))
    axes.errorbar(values, places, xerr=[values - low, high - values], fmt="o", color=BLUE, ecolor=GREY, markersize=4)
    axes.set_yticks(places, [short(name) for name in scores], fontsize=9 if len(scores) <= LABELLED_CLASSES else 6)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    calm(axes)
    return figure


def calibration(bins: Sequence[tuple[float, float, int]], what: str = "images") -> Figure:
    """Accuracy against confidence, over a histogram of the confidences.

    Args:
        bins: Mean confidence, accuracy and number of images of each bin.
        what: What there are so many of.
    """
    figure = Figure(figsize=(5.2, 4.8), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    confidence, accuracy, counts = (np.array(part) for part in zip(*bins, strict=True))
    error = float((counts * np.abs(confidence - accuracy)).sum() / counts.sum())
    upper.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="perfect")
    upper.plot(confidence, accuracy, color=BLUE, marker="o", markersize=4, label=f"error {100 * error:.1f} %")
    upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    upper.legend(frameon=False)
    lower.bar(confidence, counts, width=0.05, color=GREY)
    lower.set(xlabel="confidence", ylabel=what)
    for axes in (upper, lower):
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        calm(axes)
    upper.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure


def save_figures(figures: Mapping[str, Figure], folder: Path) -> None:
    """Write each figure as ``<name>.png`` (150 dpi) into a folder, which is made if need be."""
    folder.mkdir(exist_ok=True)
    for name, figure in figures.items():
        data = io.BytesIO()
        figure.savefig(data, format="png", dpi=150, bbox_inches="tight")
        write_atomic(folder / f"{name}.png", data.getvalue())


def calm(axes) -> None:
    """The house style: a light grid, no frame above and to the right."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def short(name: str, most: int = 22) -> str:
    """A tick label; dollar signs would begin a formula."""
    name = name.replace("$", r"\$")
    return name if len(name) <= most else name[: most - 1] + "…"
