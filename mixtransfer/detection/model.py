"""Building a detector from options, and opening a trained one from its Run; nothing pickled is read."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args, get_type_hints

import safetensors.torch
from safetensors import SafetensorError

from mixtransfer.backbones.registry import BackboneSpec
from mixtransfer.data.preprocessing import LARGEST
from mixtransfer.detection.compat import prepare_detectron2
from mixtransfer.detection.coverage import USUAL_SCALES
from mixtransfer.detection.options import TrainOptions
from mixtransfer.errors import UserError
from mixtransfer.model_card import ModelCard
from mixtransfer.run import Run

if TYPE_CHECKING:
    from mixtransfer.detection.ssdlite.head import SSDLiteHead
    from mixtransfer.detection.ssdlite.model import SSDLite


USUAL_MOST, LARGEST_MOST = 100, 10_000  # detections of an image; COCO counts 100


def build_detector(
    backbone: str | BackboneSpec,
    weights: str,
    num_classes: int,
    tap: str,
    loss: str,
    image_size: int | None = None,
    scales: tuple[float, float] = USUAL_SCALES,
) -> "SSDLite":
    """An SSDLite; for the arguments see ``TrainOptions``, for the size also ``create_backbone``.

    Args:
        scales: Of the anchors of the finest and the coarsest level.

    Raises:
        UserError: detectron2 is missing, or the backbone cannot be had.
    """
    prepare_detectron2()
    from mixtransfer.detection.ssdlite.anchors import SSDAnchorGenerator
    from mixtransfer.detection.ssdlite.backbone import SSDLiteBackbone
    from mixtransfer.detection.ssdlite.model import LOSSES, build_ssdlite

    body = SSDLiteBackbone(backbone, weights, None if tap == "auto" else tap, image_size)
    return build_ssdlite(
        body, num_classes, LOSSES[loss](), SSDAnchorGenerator(min_ratio=scales[0], max_ratio=scales[1])
    )


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
    backbone: BackboneSpec,
    tap: str,
    loss: str,
    size: int,
    classes: list[str],
    category_ids: list[int],
    max_detections: int = USUAL_MOST,
    start: dict[str, str] | None = None,
    scales: tuple[float, float] = USUAL_SCALES,
) -> ModelCard:
    """What ``open_detector`` needs beside the weights, and what they started from."""
    details = {
        "tap": tap,
        "anchors": list(scales),
        "loss": loss,
        "category_ids": category_ids,
        "max_detections": max_detections,
    }
    details |= {"start": start} if start else {}
    return ModelCard.of("detection", backbone, classes, {"size": size}, details)


def read_detector_card(path: Path) -> tuple[ModelCard, int, list[int]]:
    """A detector's ``model.json``, with the side of its square and the category ids, all checked.

    Raises:
        UserError: It is missing, damaged or not a detector's.
    """
    card = ModelCard.read(path, "detection")
    values = {**card.preprocessing, **card.details} if isinstance(card.details, dict) else {}
    size, ids = values.get("size"), values.get("category_ids")
    most = values.get("max_detections", USUAL_MOST)  # older ones do not say it
    wrong = {
        "anchors": not are_scales(values.get("anchors", USUAL_SCALES)),
        "max_detections": type(most) is not int or not 1 <= most <= LARGEST_MOST,
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


def scales_of(card: ModelCard) -> tuple[float, float]:
    """The scales of a detector's anchors; older descriptions, which do not say them, are of SSD's own."""
    low, high = card.details.get("anchors", USUAL_SCALES)
    return low, high


def are_scales(value: Any) -> bool:
    """Whether something is the scales of anchors: two numbers, 0 < finest < coarsest ≤ 1."""
    pair = list(value) if isinstance(value, list | tuple) else []
    numbers = len(pair) == 2 and all(isinstance(number, int | float) for number in pair)
    return numbers and 0.01 <= pair[0] < pair[1] <= 1


def open_detector(folder: Path | str) -> TrainedDetector:
    """Load the detector of a Run.

    Raises:
        UserError: The folder is no detection run, or its files are damaged.
    """
    run = Run.open(folder)
    card, size, category_ids = read_detector_card(run.model)
    details = card.details
    scales = scales_of(card)
    model = build_detector(card.spec, "none", len(card.classes), details["tap"], details["loss"], size, scales)
    run.load_weights(model)
    model.find_at_most(card.details.get("max_detections", USUAL_MOST))
    return TrainedDetector(model.eval(), size, card.classes, category_ids)


def load_detector_weights(model: "SSDLite", folder: str, classes: Sequence[str], loss: str) -> list[str]:
    """Start from another run's detector: all of it but the class logits, and of these the rows of the classes that it
    knows by name. Logits of another loss mean something else, and are none of them taken.

    Args:
        model: The detector, of ``classes``.
        folder: The other run.
        classes: Names in label order.
        loss: See ``TrainOptions``.

    Returns:
        The names of the classes that are known.

    Raises:
        UserError: The run's network is another one.
    """
    run = Run.open(folder)
    card, _, _ = read_detector_card(run.model)
    try:
        state = safetensors.torch.load_file(run.weights)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{run.weights} is missing or damaged.") from error
    fits = card.details["loss"] == loss
    known = {name: card.classes.index(name) for name in classes if card.classes.count(name) == 1} if fits else {}
    background = cast("SSDLiteHead", model.head).num_logits - len(classes)  # 1, or 0 for focal loss
    mine = [i for i, name in enumerate(classes) if name in known]
    theirs = [known[classes[i]] for i in mine]
    if background:
        mine, theirs = [*mine, len(classes)], [*theirs, len(card.classes)]
    own = model.state_dict()
    for name, value in own.items():
        if re.fullmatch(r"head\.classes\.\d+\.1\.(weight|bias)", name):  # rows of anchors, and of logits within
            rows = value.unflatten(0, (-1, len(classes) + background)).clone()
            other = state.get(name, value[:0])
            if fits and len(other) == len(rows) * (len(card.classes) + background):
                rows[:, mine] = other.unflatten(0, (len(rows), -1))[:, theirs].to(rows)
            elif fits:
                raise UserError(f"{run.folder} holds a detector with other anchors: give the same ones.")
            state[name] = rows.flatten(0, 1)
        elif name not in state or state[name].shape != value.shape:
            raise UserError(f"{run.folder} holds a detector with another backbone or tap: give the same ones.")
    model.load_state_dict({name: state[name] for name in own})
    return list(known)
