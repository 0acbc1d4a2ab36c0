"""Figures of a search: the front, and the kernels of a network by depth, as the paper's Figure 8 shows MixNet's."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from mixtransfer.backbones import Architecture
from mixtransfer.backbones.architecture import Block
from mixtransfer.report.figures import BLUE, GREY, ORANGE, calm
from mixtransfer.search.space import KERNELS
from mixtransfer.search.study import Candidate

Z = 1.96  # standard errors of a 95 % interval
# From light to dark as the kernels grow.
SHADES = dict(zip(KERNELS, ("#d6e4f2", "#a5c5e6", "#6b9fd3", "#2f6fb3", "#123f73"), strict=True))


def loss_against_cost(
    candidates: Sequence[Candidate], front: Sequence[Candidate], winner: Candidate | None, label: str, unit: float
) -> Figure:
    """Every network that was scored, and the line of those that no other beats.

    Args:
        label: Of the cost.
        unit: What to divide the cost by.
    """
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.scatter([c.cost / unit for c in candidates], [c.score.loss for c in candidates], s=9, color=GREY, alpha=0.6)
    axes.errorbar(
        [c.cost / unit for c in front], [c.score.loss for c in front], [Z * c.score.error for c in front],
        color=BLUE, marker="o", markersize=4, drawstyle="steps-post", capsize=3, elinewidth=0.8,
        label="front, 95 % intervals",
    )  # fmt: skip
    if winner:
        axes.plot(winner.cost / unit, winner.score.loss, color=ORANGE, marker="o", markersize=8, ls="", label="winner")
    axes.set(xlabel=label, ylabel="validation log loss, shared weights")
    axes.legend(frameon=False, loc="upper right")
    calm(axes)
    return figure


def kernel_shares(architecture: Architecture) -> Figure:
    """The share of each kernel size in every depthwise layer, from the input to the output."""
    blocks = list(architecture)
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    axes = figure.subplots()
    bottom = np.zeros(len(blocks))
    for kernel, shade in SHADES.items():
        shares = np.array([(kernel in block.kernels) / len(block.kernels) for block in blocks])
        axes.bar(range(1, len(blocks) + 1), shares, bottom=bottom, color=shade, label=f"{kernel}×{kernel}", width=0.85)
        bottom += shares
    for i, block in enumerate(blocks, 1):
        if block.stride == 2:
            axes.axvline(i - 0.5, color="k", linewidth=0.8, linestyle=":")
    axes.set(xlabel="layer (dotted: half the size from here)", ylabel="share of the channels", ylim=(0, 1))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(frameon=False, ncols=1, loc="center left", bbox_to_anchor=(1, 0.5), reverse=True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def kernels_by_depth(groups: dict[str, Sequence[Architecture]]) -> Figure:
    """The mean side of the depthwise kernels by depth, of several groups of networks; the bars are standard errors."""
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.subplots()
    for (name, networks), colour in zip(groups.items(), (ORANGE, BLUE, GREY), strict=False):
        sides = np.array(
            [[np.mean([mean_side(Block.parse(b)) for b in stage]) for stage in n.blocks] for n in networks]
        )
        spread = sides.std(axis=0) / max(1, len(sides) - 1) ** 0.5
        axes.errorbar(
            range(sides.shape[1]),
            sides.mean(axis=0),
            spread,
            color=colour,
            marker="o",
            markersize=4,
            capsize=3,
            label=name,
        )
    axes.set(xlabel="stage", ylabel="mean side of a kernel (pixels)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    calm(axes)
    return figure


def mean_side(block: Block) -> float:
    """The mean kernel side of a block's channels."""
    return float(np.mean(block.kernels))
