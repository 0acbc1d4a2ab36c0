"""`mixtransfer models`: the registry, measured by building every network, beside what has been published."""

import json
from dataclasses import dataclass

from mixtransfer.backbones.registry import BackboneSpec, list_backbones


@dataclass
class ModelsOptions:
    """List the backbones, their parameters and multiply-adds (MACs) as built here, and what has been published.

    Any other timm model can be used by its name too; these are the ones that something is known about.

    Args:
        family: Only this family (mixnet, resnet, mobilenetv1, mobilenetv2, mobilenetv3, efficientnet).
        json: Print a list of objects with name, params, macs, published and more.
    """

    family: str | None = None
    json: bool = False


def models(options: ModelsOptions) -> None:
    """Print the list."""
    specs = list_backbones(options.family)
    rows = [measured(spec) for spec in specs]
    if options.json:
        print(json.dumps(rows, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Backbones, measured by building them for 224 pixels", title_justify="left")
    table.add_column("backbone", no_wrap=True)
    for column in ("params M", "MACs M", "top-1 %", "paper"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row["name"],
            f"{row['params'] / 1e6:.2f}",
            f"{row['macs'] / 1e6:.0f}",
            _percent((row["published"] or {}).get("top1")),
            _paper(row["paper"] or {}),
        )
    Console().print(table)
    print("MACs:  multiply-adds of the convolutions and the classifier.")
    print("top-1: ImageNet, 224 px, of timm's weights, which --weights imagenet loads (its results-imagenet.csv).")
    print("paper: params M / MACs M / top-1 % of the MixConv paper's Table 2; ~ read off its Figure 4.")
    print("Sources, and why counts differ from published ones: mixtransfer models --json")


def measured(spec: BackboneSpec) -> dict:
    """What `models --json` says of one backbone: counted here without memory, and published with its source."""
    import torch

    from mixtransfer.backbones import count_macs, count_parameters, create_backbone

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
    }


def _percent(fraction: float | None) -> str:
    return "" if fraction is None else f"{100 * fraction:.1f}"


def _paper(row: dict) -> str:
    if "Figure" in row.get("source", ""):
        return f"~ {_percent(row['top1'])}"
    return f"{row['params'] / 1e6:.1f} / {row['macs'] / 1e6:.0f} / {_percent(row['top1'])}" if row else ""
