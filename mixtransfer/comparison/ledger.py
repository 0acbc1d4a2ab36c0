"""The ledger: the paper's figures and tables row by row, beside what this project builds and has measured."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache

from mixtransfer.backbones.registry import backbone_spec, list_backbones
from mixtransfer.errors import UserError

# Accuracies of full-size reproductions, by (artefact, row): value, date, machine and command. None has been run yet.
MEASURED: dict[tuple[str, str], str] = {}

IMAGENET = "needs GPUs and ImageNet"
STUDIES = {
    "Table 1": ("needs a GPU and COCO", "python tools/reproduce_table1.py --data-root DIR"),
    "Table 2": (IMAGENET, "mixtransfer models"),
    "Figure 4": (IMAGENET, "python tools/reproduce_figure4.py DATA"),
    "Figure 5": (IMAGENET, "mixtransfer compare DATA --config configs/comparison/figure5.yaml"),
    "Figure 6": (IMAGENET, "mixtransfer compare DATA --config configs/comparison/figure6.yaml"),
    "Figure 7": (IMAGENET, "mixtransfer models"),
    "Figure 9": ("needs a GPU and the dataset", "python tools/reproduce_figure9.py --data-root DIR"),
}

# Number of classes, and accuracies read off the plot, ±0.1: top-1 in percent (of Pets the mean per-class accuracy).
FIGURE_9 = {
    "cifar10": (10, {"mixnet_s": 97.8, "mixnet_m": 97.9, "resnet50": 96.8}),
    "cifar100": (100, {"mixnet_s": 86.5, "mixnet_m": 87.2, "resnet50": 84.5}),
    "pets": (37, {"mixnet_s": 90.6, "mixnet_m": 91.7, "resnet50": 92.5}),
    "food101": (101, {"mixnet_s": 86.6, "mixnet_m": 87.2, "resnet50": 87.8}),
}


@dataclass(frozen=True)
class Entry:
    """A row of the ledger.

    Attributes:
        artefact: Such as "Table 1".
        row: What the row is about.
        paper: The paper's numbers, in words.
        built: Parameters and multiply-adds of the network as it is built here; empty where the row has none.
        accuracy: What was measured, with its source and date, or what that needs.
        command: What measures it.
    """

    artefact: str
    row: str
    paper: str
    built: str
    accuracy: str
    command: str


@cache
def ledger() -> list[Entry]:
    """All rows; every network in them is built (without memory) to be counted."""
    return [*_table_1(), *_table_2(), *_figure_4(), *_figures_5_and_6(), *_figure_7(), *_figure_9()]


def _entry(artefact: str, row: str, paper: str, built: str = "", more: str = "") -> Entry:
    needs, command = STUDIES[artefact]
    return Entry(artefact, row, paper, built, MEASURED.get((artefact, row), needs) + more, command)


def _table_1() -> Iterator[Entry]:
    from mixtransfer.detection.compat import prepare_detectron2
    from mixtransfer.detection.table_1 import TABLE_1

    for name, row in TABLE_1.items():
        try:
            prepare_detectron2()
            from mixtransfer.detection.ssdlite.cost import detector_cost

            cost = detector_cost(backbone_spec(name).name)
            built = f"{cost['params'] / 1e6:.2f}M, {cost['macs'] / 1e9:.2f} GMACs"
        except UserError:
            built = "needs detectron2"
        paper = f"{row['params'] / 1e6:.2f}M, {row['macs'] / 1e9:.2f} GMACs, AP {100 * row['ap']:.1f}"
        yield _entry("Table 1", name, paper, built)


def _table_2() -> Iterator[Entry]:
    for spec in list_backbones():
        paper = spec.paper or {}
        if "Table 2" in paper.get("source", ""):
            words = f"{paper['params'] / 1e6:.1f}M, {paper['macs'] / 1e6:.0f}M MACs, top-1 {100 * paper['top1']:.1f} %"
            published = (spec.published or {})["top1"]
            more = f"; its weights in timm have {100 * published:.2f} % (timm's results file)"
            yield _entry("Table 2", spec.name, words, _built(spec.name), more)


def _figure_4() -> Iterator[Entry]:
    for spec in list_backbones():
        if spec.family in ("mobilenetv1", "mobilenetv2") and spec.kernel_sizes:
            known = spec.paper and f"top-1 about {100 * spec.paper['top1']:.1f} % (read off)"
            yield _entry("Figure 4", spec.name, known or "a point of the curve, not read off", _built(spec.name))


def _figures_5_and_6() -> Iterator[Entry]:
    alone = "MobileNetV2 with 9×9 or MixConv 3579 in one layer"
    yield _entry("Figure 5", alone, "differs by layer, most where the stride is 2 (plot not read off)")
    dilated = "MobileNets with dilated 3×3 groups"
    yield _entry(
        "Figure 6", dilated, "as good as MixConv while kernels are small, worse when large (plot not read off)"
    )


def _figure_7() -> Iterator[Entry]:
    rows = "MixNet-S, M, L against other networks"
    yield _entry("Figure 7", rows, "the numbers of Table 2, drawn", "see Table 2")


def _figure_9() -> Iterator[Entry]:
    for data, (classes, accuracies) in FIGURE_9.items():
        for name, percent in accuracies.items():
            yield _entry("Figure 9", f"{name} on {data}", f"about {percent} % (read off)", _built(name, classes))


def _built(name: str, classes: int = 1000) -> str:
    import torch

    from mixtransfer.backbones import count_macs, count_parameters, create_backbone

    with torch.device("meta"):
        model = create_backbone(name, weights="none", num_classes=classes)
    return f"{count_parameters(model) / 1e6:.2f}M, {count_macs(model) / 1e6:.0f}M MACs"


def print_ledger(as_json: bool) -> None:
    """Print the ledger as tables, or as a list of objects."""
    if as_json:
        print(json.dumps([asdict(entry) for entry in ledger()], ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    entries = ledger()
    console = Console()
    for artefact, (_, command) in STUDIES.items():
        table = Table("", "paper", "built here", "accuracy here", title=f"{artefact}: {command}", title_justify="left")
        for entry in entries:
            if entry.artefact == artefact:
                table.add_row(entry.row, entry.paper, entry.built, entry.accuracy)
        console.print(table)


def markdown() -> str:
    """The ledger as ``docs/paper.md`` has it."""
    lines = ["| | | the paper | built here | accuracy here |", "|---|---|---|---|---|"]
    for entry in ledger():
        lines.append(f"| {entry.artefact} | {entry.row} | {entry.paper} | {entry.built} | {entry.accuracy} |")
    commands = [f"- {artefact}: `{command}`" for artefact, (_, command) in STUDIES.items()]
    return "\n".join([*lines, "", "What measures them:", "", *commands])
