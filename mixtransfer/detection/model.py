"""Building a detector from options, and opening a trained one from its Run; nothing pickled is read."""

from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import nn

from mixtransfer.backbones.registry import BackboneSpec
from mixtransfer.detection.compat import prepare_detectron2
from mixtransfer.errors import UserError
from mixtransfer.run import ModelCard, Run


def build_detector(backbone: str | BackboneSpec, weights: str, num_classes: int, tap: str, loss: str) -> nn.Module:
    """An SSDLite; for the arguments see ``TrainOptions``.

    Raises:
        UserError: detectron2 is missing, or the backbone cannot be had.
    """
    prepare_detectron2()
    from mixtransfer.detection.ssdlite.backbone import SSDLiteBackbone
    from mixtransfer.detection.ssdlite.model import LOSSES, build_ssdlite

    body = SSDLiteBackbone(backbone, weights, None if tap == "auto" else tap)
    return build_ssdlite(body, num_classes, LOSSES[loss]())


@dataclass(frozen=True)
class TrainedDetector:
    """A network ready for use, with what belongs to it.

    Attributes:
        model: An ``SSDLite``.
        size: Side of the square that images are warped to, in pixels.
        classes: Names in the order of the outputs.
        category_ids: The training data's own id of each class.
    """

    model: nn.Module
    size: int
    classes: list[str]
    category_ids: list[int]


def detector_card(
    backbone: BackboneSpec, tap: str, loss: str, size: int, classes: list[str], category_ids: list[int]
) -> ModelCard:
    """What ``open_detector`` needs beside the weights."""
    details = {"tap": tap, "loss": loss, "category_ids": category_ids}
    return ModelCard.of("detection", backbone, classes, {"size": size}, details)


def open_detector(folder: Path | str) -> TrainedDetector:
    """Load the detector of a Run.

    Raises:
        UserError: The folder is no detection run, or its files are damaged.
    """
    run = Run.open(folder)
    card = ModelCard.read(run.model, "detection")
    try:
        size, details = int(card.preprocessing["size"]), card.details
        tap, loss, category_ids = details["tap"], details["loss"], list(details["category_ids"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{run.model} is not a detector's description: {error} is missing or wrong.") from error
    model = build_detector(card.spec, "none", len(card.classes), tap, loss)
    run.load_weights(model)
    return TrainedDetector(model.eval(), size, card.classes, category_ids)


def load_detector_weights(model: nn.Module, folder: str) -> list[str]:
    """Start from another run's detector: everything that fits is loaded.

    Returns:
        Names of the tensors that stay as they are because their shapes differ: those of a head for other classes.

    Raises:
        UserError: The run's network is another one.
    """
    run = Run.open(folder)
    ModelCard.read(run.model, "detection")
    try:
        state = safetensors.torch.load_file(run.weights)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{run.weights} is missing or damaged.") from error
    own = model.state_dict()
    other = [name for name, value in own.items() if name not in state or state[name].shape != value.shape]
    if any(not name.startswith("head.classes.") for name in other):
        raise UserError(f"{run.folder} holds a detector with another backbone or tap: give the same ones.")
    model.load_state_dict({name: value for name, value in state.items() if name not in other}, strict=False)
    return other
