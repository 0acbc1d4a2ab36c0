"""What has been published about networks, in the units of the registry, with its source."""

from mixtransfer.backbones.variants import Variant


def as_timm_prints(params: float, gmacs: float, top1: float, tag: str) -> dict:
    """Millions, 1e9 and per cent as timm prints them."""
    source = f"timm's results-imagenet.csv at 224 px, weights {tag} (its MACs count BatchNorm as 2 an element)"
    return {
        "params": round(params * 1e6),
        "macs": round(gmacs * 1e9),
        "top1": round(top1 / 100, 5),
        "source": source,
    }


def as_table_2_prints(params: float, mmacs: int, top1: float, top5: float | None = None) -> dict:
    """Millions, millions and per cent as the paper prints them."""
    row = {"params": round(params * 1e6), "macs": round(mmacs * 1e6), "top1": round(top1 / 100, 3)}
    if top5 is not None:
        row["top5"] = round(top5 / 100, 3)
    return row | {"source": "MixConv paper, Table 2"}


def read_off_figure_4(top1: float) -> dict:
    return {"top1": round(top1 / 100, 3), "source": "MixConv paper, Figure 4, read off the plot (±0.001)"}


# Readings off the plot, only where one is known: the peaks and the ends of the curves.
FIGURE_4 = {
    ("mobilenetv1_100", Variant((7,))): read_off_figure_4(72.0),
    ("mobilenetv1_100", Variant((13,))): read_off_figure_4(70.8),
    ("mobilenetv1_100", Variant((3, 5, 7, 9, 11, 13))): read_off_figure_4(72.6),
    ("mobilenetv2_100", Variant((9,))): read_off_figure_4(74.1),
    ("mobilenetv2_100", Variant((3, 5, 7, 9, 11, 13))): read_off_figure_4(74.3),
}
