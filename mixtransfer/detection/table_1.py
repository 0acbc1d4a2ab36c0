"""Table 1 of the MixConv paper: detectors on COCO. Reading it imports nothing."""


def _row(params: float, gmacs: float, ap: float) -> dict:
    """Millions, 1e9 and per cent as the paper prints them."""
    source = "MixConv paper, Table 1"
    return {"params": round(params * 1e6), "macs": round(gmacs * 1e9), "ap": round(ap / 100, 3), "source": source}


# COCO box AP as a fraction.
TABLE_1 = {
    "mobilenetv1_100": _row(5.12, 1.31, 21.7),
    "mobilenetv1_100.depthwise5x5": _row(5.20, 1.38, 22.3),
    "mobilenetv1_100.mixconv35": _row(5.16, 1.35, 22.2),
    "mobilenetv1_100.depthwise7x7": _row(5.32, 1.47, 21.8),
    "mobilenetv1_100.mixconv357": _row(5.22, 1.39, 22.4),
    "mobilenetv2_100": _row(4.35, 0.79, 21.5),
    "mobilenetv2_100.depthwise5x5": _row(4.47, 0.87, 22.1),
    "mobilenetv2_100.mixconv35": _row(4.41, 0.83, 22.1),
    "mobilenetv2_100.depthwise7x7": _row(4.64, 0.98, 21.2),
    "mobilenetv2_100.mixconv357": _row(4.49, 0.88, 22.3),
}

# Held by tests/detection/ssdlite/test_cost.py.
TABLE_1_NOTE = (
    "The paper does not describe its detector. Its sizes are those of SSDLite at 320 pixels with the expanded tap, 81 "
    "class logits, three anchors instead of six on the finest map, and on MobileNetV2 its last 1×1 convolution (1280 "
    "channels) before the coarser maps: counted so, all ten rows agree within 0.03M parameters and 0.01 GMACs. The "
    "detectors here have six anchors everywhere, as torchvision's, and begin the coarser maps at the last stage."
)
