"""What an exported file says of itself, as JSON inside it."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from mixtransfer.common.machine import package_versions
from mixtransfer.data.detection.square import Square
from mixtransfer.data.preprocessing import Preprocessing
from mixtransfer.detection.thresholds import are_thresholds
from mixtransfer.detection.tiling import are_tiles
from mixtransfer.errors import UserError
from mixtransfer.runs.model_card import CLASSIFIERS

KEY = "mixtransfer"
WRITERS = ("onnx", "openvino", "executorch", "litert-torch", "coremltools")
CROP_MODES = {"warp": "squash", "letterbox": "border"}  # timm's names of the ways of ``Square``
OUTPUTS = {
    "classification": (["logits"], ["probabilities"], ["logits", "known"], ["probabilities", "known"]),
    "multilabel": (["logits"], ["probabilities"], ["logits", "known"], ["probabilities", "known"]),
    "detection": (["boxes", "scores", "labels"], ["logits", "deltas", "anchors"]),
}


@dataclass(frozen=True)
class Metadata:
    """All that it takes to use an exported model.

    Attributes:
        task: "classification", "multilabel" (several labels an image) or "detection".
        backbone: A name that ``create_backbone`` takes.
        classes: Names in the order of the outputs.
        preprocessing: Size, resampling and normalization of the input.
        inside: Whether the normalization is part of the graph, which then takes uint8 (n, size, size, 3).
        outputs: Names of the outputs in order; see ``mixtransfer.deploy.network``.
        details: What only this task needs.
        versions: Of the packages that wrote it.
        target: The processor that it was fused for, see ``mixtransfer.deploy.runtimes.base.Target``.
    """

    task: str
    backbone: str
    classes: list[str]
    preprocessing: Preprocessing
    inside: bool
    outputs: list[str]
    details: dict = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=lambda: package_versions(WRITERS))
    target: str = ""
    format: int = 1

    @property
    def is_classifier(self) -> bool:
        """Whether its answer is of a whole image."""
        return self.task in CLASSIFIERS

    @property
    def label_thresholds(self) -> np.ndarray | None:
        """Of several labels an image from which probability on it has each, float32 (classes,); else None."""
        if self.task != "multilabel":
            return None
        return np.array([self.details["thresholds"][name] for name in self.classes], dtype=np.float32)

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "preprocessing": self.preprocessing.to_dict()}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | None, path: Path) -> "Metadata":
        """Read what ``to_json`` wrote.

        Raises:
            UserError: It is missing or wrong; the message names the file.
        """
        if not text:
            raise UserError(f"{path} does not say what its classes are: write it by `mixtransfer export`.")
        try:
            values = json.loads(text)
            found = cls(**{**values, "preprocessing": Preprocessing.from_dict(values["preprocessing"])})
            known = found.format == 1 and found.task in OUTPUTS
            whole = not known or found._is_whole()
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
            raise UserError(f"{path} is damaged: its description cannot be read ({type(error).__name__}).") from error
        if not known:
            raise UserError(f"{path} was written by another version of mixtransfer: export it again with this one.")
        if not whole:
            raise UserError(f"{path} is damaged: a field of its description is missing or of the wrong kind.")
        return found

    def _is_whole(self) -> bool:
        count = len(self.classes)
        names = isinstance(self.classes, list) and count and all(isinstance(name, str) for name in self.classes)
        if not names or not isinstance(self.backbone, str) or not isinstance(self.inside, bool):
            return False
        if self.outputs not in OUTPUTS[self.task]:
            return False
        if self.task == "classification":
            return True
        if self.task == "multilabel":
            return are_thresholds(self.details["thresholds"], self.classes)
        numbers, weights, threshold, limit = (
            self.details[name] for name in ("category_ids", "box_weights", "nms_threshold", "limit")
        )
        optional = ("class_agnostic", "min_score", "only", "thresholds")  # older files say none of these
        agnostic, least, only, thresholds = (self.details.get(name) for name in optional)
        return (
            agnostic in (None, False, True)
            and (thresholds is None or are_thresholds(thresholds, self.classes))
            and (least is None or (isinstance(least, int | float) and 0 <= least <= 1))
            and (only is None or all(type(label) is int and 0 <= label < count for label in only))
            and len(numbers) == count
            and all(type(number) is int for number in numbers)
            and self.details["loss"] in ("cross_entropy", "focal")
            and len(weights) == 4
            and all(isinstance(value, int | float) and 0 < value < 1e6 for value in (*weights, threshold))
            and type(limit) is int
            and 0 < limit <= 10_000
            and are_tiles(self.details.get("tiles"))
        )

    def fits(self, outputs: list[np.ndarray], images: int) -> bool:
        """Whether the outputs for so many images are of the shapes that the task has."""
        if len(outputs) != len(self.outputs) or any(part.dtype.kind not in "fiu" for part in outputs):
            return False
        shapes, classes = [part.shape for part in outputs], len(self.classes)
        if self.is_classifier:
            return shapes == [(images, classes), (images,)][: len(self.outputs)]
        if self.outputs[0] == "logits":
            classes += self.details["loss"] == "cross_entropy"  # the background
            anchors = len(outputs[2])
            return shapes == [(images, anchors, classes), (images, anchors, 4), (anchors, 4)]
        labels = outputs[2]
        found = labels.shape[-1] if labels.ndim else 0
        fit = shapes == [(images, found, 4), (images, found), (images, found)]
        return fit and labels.min(initial=0) >= 0 and labels.max(initial=0) < classes


def square_of(preprocessing: Preprocessing) -> Square:
    """What a detector is shown of an image; older files have "center" for a warp."""
    return Square(preprocessing.size, "letterbox" if preprocessing.crop_mode == CROP_MODES["letterbox"] else "warp")
