"""Building a detector from its description, and opening a trained one from its Run; nothing pickled is read."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixtransfer.backbones.registry import BackboneSpec
from mixtransfer.backbones.skip_init import SkipInit
from mixtransfer.data.lookup import some
from mixtransfer.detection.compat import prepare_detectron2
from mixtransfer.detection.spec import FIELDS, DetectorSpec
from mixtransfer.detection.thresholds import are_thresholds
from mixtransfer.errors import UserError
from mixtransfer.runs.model_card import ModelCard
from mixtransfer.runs.run import Run

if TYPE_CHECKING:
    from mixtransfer.detection.ssdlite.model import SSDLite


def build_detector(
    backbone: str | BackboneSpec, weights: str, num_classes: int, spec: DetectorSpec | None = None
) -> "SSDLite":
    """An SSDLite.

    Args:
        backbone, weights: See ``create_backbone``.
        num_classes: Without background.
        spec: All the rest; by default as SSD has it.

    Raises:
        UserError: detectron2 is missing, or the backbone cannot be had.
    """
    prepare_detectron2()
    from mixtransfer.detection.ssdlite.backbone import SSDLiteBackbone
    from mixtransfer.detection.ssdlite.model import build_ssdlite

    spec = spec or DetectorSpec()
    tap = None if spec.tap == "auto" else spec.tap
    body = SSDLiteBackbone(backbone, weights, tap, spec.image_size, spec.norm_eps)
    return build_ssdlite(body, num_classes, spec=spec)


Card = tuple[ModelCard, DetectorSpec, list[int]]  # model.json, the detector, its category ids


@dataclass(frozen=True)
class TrainedDetector:
    """A network ready for use, with what belongs to it.

    Attributes:
        model: An ``SSDLite``.
        spec: What it was built by, and how it chooses detections.
        classes: Names in the order of the outputs.
        category_ids: The training data's own id of each class.
    """

    model: "SSDLite"
    spec: DetectorSpec
    classes: list[str]
    category_ids: list[int]

    def finding(self, only: str | None = None, **choice: Any) -> "TrainedDetector":
        """The same, with detections chosen otherwise.

        Args:
            only: The classes that are found, with commas between; by default all.
            choice: Fields of ``DetectorSpec``; None as it is.

        Raises:
            UserError: A class is none of the detector's.
        """
        spec = self.spec.changed(**choice)
        self.model.find_as(spec)
        self.model.only = labels_of(only, self.classes)
        return replace(self, spec=spec)


def labels_of(names: str | None, classes: Sequence[str]) -> list[int] | None:
    """The labels of ``--classes``; None where it is not given.

    Raises:
        UserError: One of them is none of the classes.
    """
    if names is None:
        return None
    if names in classes:  # its name may have a comma
        return [classes.index(names)]
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted or [names]:
        if name not in classes:
            raise UserError(f"--classes names {name!r}, which is none of the detector's: {some(classes, 10)}.")
    return [label for label, name in enumerate(classes) if name in wanted]


def detector_card(
    backbone: BackboneSpec,
    spec: DetectorSpec,
    classes: list[str],
    category_ids: list[int],
    start: dict[str, str] | None = None,
) -> ModelCard:
    """What ``open_detector`` needs beside the weights, and what they started from."""
    details = {**spec.to_dict(), "category_ids": category_ids, **({"start": start} if start else {})}
    shown = {"size": details.pop("image_size"), "resize": details.pop("resize")}
    return ModelCard.of("detection", backbone, classes, shown, details)


def read_detector_card(path: Path) -> Card:
    """A detector's ``model.json``, with its description and the category ids, all checked.

    Older ones say less of it: what they leave out was as the defaults are.

    Raises:
        UserError: It is missing, damaged or not a detector's.
    """
    card = ModelCard.read(path, "detection")
    details = card.details if isinstance(card.details, dict) else {}
    values = {name: details.get(name) for name in ("tap", "loss")}  # always said
    values |= {name: value for name, value in details.items() if name in FIELDS}
    values |= {"image_size": card.preprocessing.get("size"), "resize": card.preprocessing.get("resize", "warp")}
    spec = DetectorSpec.from_dict(values, str(path))
    ids = details.get("category_ids")
    if not isinstance(ids, list) or len(ids) != len(card.classes) or any(type(number) is not int for number in ids):
        raise UserError(f"{path} is not a detector's description: category_ids is missing or wrong.")
    if spec.thresholds is not None and not are_thresholds(spec.thresholds, card.classes):
        raise UserError(f"{path} is not a detector's description: thresholds is missing or wrong.")
    return card, spec, ids


def keep_thresholds(run: Run, thresholds: dict[str, float] | None) -> None:
    """Write the score thresholds that were chosen, by class, to a detector's ``model.json``."""
    card = read_detector_card(run.model)[0]
    replace(card, details={**card.details, "thresholds": thresholds}).write(run.model)


def open_detector(folder: Path | str) -> TrainedDetector:
    """Load the detector of a Run.

    Raises:
        UserError: The folder is no detection run, or its files are damaged.
    """
    run = Run.open(folder)
    card, spec, category_ids = read_detector_card(run.model)
    with SkipInit():
        model = build_detector(card.spec, "none", len(card.classes), spec)
    run.load_weights(model)
    return TrainedDetector(model.eval(), spec, card.classes, category_ids)
