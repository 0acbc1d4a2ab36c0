"""Building a detector from options, and opening a trained one from its Run; nothing pickled is read."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args, get_type_hints

import safetensors.torch
from safetensors import SafetensorError
from torch import nn

from mixtransfer.backbones.registry import BackboneSpec
from mixtransfer.data.preprocessing import LARGEST
from mixtransfer.detection.compat import prepare_detectron2
from mixtransfer.detection.options import TrainOptions
from mixtransfer.errors import UserError
from mixtransfer.run import ModelCard, Run

if TYPE_CHECKING:
    from mixtransfer.detection.ssdlite.model import SSDLite


def build_detector(backbone: str | BackboneSpec, weights: str, num_classes: int, tap: str, loss: str) -> "SSDLite":
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

    model: "SSDLite"
    size: int
    classes: list[str]
    category_ids: list[int]


def detector_card(
    backbone: BackboneSpec, tap: str, loss: str, size: int, classes: list[str], category_ids: list[int]
) -> ModelCard:
    """What ``open_detector`` needs beside the weights."""
    details = {"tap": tap, "loss": loss, "category_ids": category_ids}
    return ModelCard.of("detection", backbone, classes, {"size": size}, details)


def read_detector_card(path: Path) -> tuple[ModelCard, int, list[int]]:
    """A detector's ``model.json``, with the side of its square and the category ids, all checked.

    Raises:
        UserError: It is missing, damaged or not a detector's.
    """
    card = ModelCard.read(path, "detection")
    values = {**card.preprocessing, **card.details} if isinstance(card.details, dict) else {}
    size, ids = values.get("size"), values.get("category_ids")
    wrong = {
        "size": type(size) is not int or not 1 <= size <= LARGEST,
        "tap": values.get("tap") not in get_args(get_type_hints(TrainOptions)["tap"]),
        "loss": values.get("loss") not in get_args(get_type_hints(TrainOptions)["loss"]),
        "category_ids": not isinstance(ids, list)
        or len(ids) != len(card.classes)
        or not all(type(number) is int for number in ids),
    }
    for name, is_wrong in wrong.items():
        if is_wrong:
            raise UserError(f"{path} is not a detector's description: {name} is missing or wrong.")
    return card, values["size"], values["category_ids"]


def open_detector(folder: Path | str) -> TrainedDetector:
    """Load the detector of a Run.

    Raises:
        UserError: The folder is no detection run, or its files are damaged.
    """
    run = Run.open(folder)
    card, size, category_ids = read_detector_card(run.model)
    model = build_detector(card.spec, "none", len(card.classes), card.details["tap"], card.details["loss"])
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
