"""`mixtransfer models`: the registry, measured by building every network, beside what has been published."""

import json
from dataclasses import dataclass
from typing import Literal

from mixtransfer.backbones.registry import BackboneSpec, list_backbones
from mixtransfer.commandline.console import print_table


@dataclass
class ModelsOptions:
    """List the backbones, their parameters and multiply-adds (MACs) as built here, and what has been published.

    Any other timm model can be used by its name too; these are the ones that something is known about.

    Args:
        task: classify lists the classifiers at 224 pixels; detect the SSDLite detectors with 80 classes at 320.
        family: Only this family (mixnet, resnet, mobilenetv1, mobilenetv2, mobilenetv3, efficientnet).
        json: Print a list of objects with name, params, macs, published and more.
    """

    task: Literal["classify", "detect"] = "classify"
    family: str | None = None
    json: bool = False


def models(options: ModelsOptions) -> None:
    """Print the list."""
    specs = list_backbones(options.family)
    measure, show = {"classify": (measured, _classifiers), "detect": (measured_detector, _detectors)}[options.task]
    rows = [measure(spec) for spec in specs]
    if options.json:
        print(json.dumps(rows, ensure_ascii=False))
    else:
        show(rows)


def _classifiers(rows: list[dict]) -> None:
    _print_table(
        "Backbones, measured by building them for 224 pixels",
        ("params M", "MACs M", "top-1 %", "paper", "licence"),
        [
            (
                row["name"],
                f"{row['params'] / 1e6:.2f}",
                f"{row['macs'] / 1e6:.0f}",
                _percent((row["published"] or {}).get("top1")),
                _paper(row["paper"] or {}),
                row["license"] or "",
            )
            for row in rows
        ],
    )
    print("MACs:  multiply-adds of the convolutions and the classifier.")
    print("top-1: ImageNet, 224 px, of timm's weights, which --weights imagenet loads (its results-imagenet.csv).")
    print("paper: params M / MACs M / top-1 % of the MixConv paper's Table 2; ~ read off its Figure 4.")
    print("Sources, and why counts differ from published ones: mixtransfer models --json")


def _detectors(rows: list[dict]) -> None:
    _print_table(
        "SSDLite detectors, measured by building them for 320 pixels and 80 classes",
        ("params M", "GMACs", "Table 1: params M", "GMACs", "AP"),
        [
            (
                row["name"],
                f"{row['params'] / 1e6:.2f}",
                f"{row['macs'] / 1e9:.3f}",
                *(
                    (f"{row['paper']['params'] / 1e6:.2f}", f"{row['paper']['macs'] / 1e9:.2f}")
                    if row["paper"]
                    else ("", "")
                ),
                _percent((row["paper"] or {}).get("ap")),
            )
            for row in rows
        ],
    )
    print("Table 1 of the MixConv paper; why its sizes differ: mixtransfer models --task detect --json")


def _print_table(title: str, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    from rich.table import Table

    print(title)
    table = Table("backbone")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    print_table(table)


def measured(spec: BackboneSpec) -> dict:
    """What `models --json` says of one backbone: counted here without memory, and published with its source."""
    import torch

    from mixtransfer.backbones import count_macs, count_parameters, create_backbone
    from mixtransfer.backbones.weights import license_of

    with torch.device("meta"):
        model = create_backbone(spec.name, weights="none")
    return {
        "name": spec.name,
        "family": spec.family,
        "params": count_parameters(model),
        "macs": count_macs(model),
        "published": dict(spec.published) if spec.published else None,
        "paper": dict(spec.paper) if spec.paper else None,
        "description": spec.description,
        "note": spec.note,
        "license": license_of(spec),
    }


def measured_detector(spec: BackboneSpec) -> dict:
    """What `models --task detect --json` says of one backbone; ``paper`` is its row of Table 1.

    Raises:
        UserError: detectron2 is missing.
    """
    from mixtransfer.detection.compat import prepare_detectron2

    prepare_detectron2()
    from mixtransfer.detection.ssdlite.cost import detector_cost
    from mixtransfer.detection.table_1 import TABLE_1, TABLE_1_NOTE

    paper = TABLE_1.get(spec.name)
    return {
        "name": spec.name,
        "family": spec.family,
        **detector_cost(spec.name),
        "published": None,
        "paper": paper,
        "note": TABLE_1_NOTE if paper else "",
    }


def _percent(fraction: float | None) -> str:
    return "" if fraction is None else f"{100 * fraction:.1f}"


def _paper(row: dict) -> str:
    if "Figure" in row.get("source", ""):
        return f"~ {_percent(row['top1'])}"
    return f"{row['params'] / 1e6:.1f} / {row['macs'] / 1e6:.0f} / {_percent(row['top1'])}" if row else ""
