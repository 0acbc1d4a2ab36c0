"""Runs that were never trained: enough of one for the page to open."""

from pathlib import Path

import torch

from mixtransfer.backbones import backbone_spec, create_backbone
from mixtransfer.classification.model import model_bytes
from mixtransfer.data.preprocessing import Preprocessing
from mixtransfer.runs.model_card import ModelCard
from mixtransfer.runs.run import Run

BACKBONE = "mobilenetv3_small_050"
NAMES = ["<script>alert(1)</script>", "${1 + 1} {{2 + 2}}", "naïve ☃ & co"]


def classifier(folder: Path, classes: list[str], seed: int = 0) -> Path:
    """A classifier with random weights for 32 pixels."""
    torch.manual_seed(seed)
    network = create_backbone(BACKBONE, weights="none", num_classes=len(classes))
    torch.nn.init.normal_(network.classifier.weight)
    card = ModelCard("classification", BACKBONE, classes, Preprocessing(size=32).to_dict())
    return _write(folder, card, network)


def detector(folder: Path, classes: list[str], seed: int = 0) -> Path:
    """A detector with random weights for 64 pixels, which finds a lot of nothing."""
    from mixtransfer.detection.model import build_detector, detector_card
    from mixtransfer.detection.spec import DetectorSpec

    torch.manual_seed(seed)
    network = build_detector(BACKBONE, "none", len(classes))
    ids = list(range(1, len(classes) + 1))
    return _write(folder, detector_card(backbone_spec(BACKBONE), DetectorSpec(image_size=64), classes, ids), network)


def _write(folder: Path, card: ModelCard, network: torch.nn.Module) -> Path:
    run = Run.create(folder, card)
    card.write(run.model)
    run.weights.write_bytes(model_bytes(network))
    return folder
