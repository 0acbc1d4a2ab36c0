"""Exported files in the place of runs, for `classify predict` and `detect predict`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mixtransfer.answers import Classification
from mixtransfer.classification.explain import ClassMaps
from mixtransfer.classification.predict import classifications
from mixtransfer.data.detection.square import Square
from mixtransfer.deploy.exported import Exported, open_exported
from mixtransfer.deploy.metadata import square_of
from mixtransfer.deploy.network import Choice, decode, suppress
from mixtransfer.detection.model import labels_of
from mixtransfer.detection.predict import Threshold, check_threshold
from mixtransfer.detection.scores import Detections
from mixtransfer.detection.spec import DetectorSpec
from mixtransfer.detection.thresholds import above, of_each
from mixtransfer.errors import UserError
from mixtransfer.runs.model_card import CLASSIFIERS


class ExportedClassifier:
    """An exported file as a ``Classifier``.

    Raises:
        UserError: The file cannot be used, or is a detector.
    """

    maps: ClassMaps | None = None

    def __init__(self, file: str | Exported, device: str = "cpu"):
        self.exported = _open(file, "classification", device)
        self.thresholds = self.exported.metadata.label_thresholds
        self.classes, self.preprocessing = self.exported.classes, self.exported.preprocessing
        self.tells_known = "known" in self.exported.metadata.outputs

    def classify(self, views: np.ndarray) -> list[Classification]:
        found = self.exported(views)
        probabilities = found.get("probabilities")
        if probabilities is None:
            logits = torch.from_numpy(found["logits"])
            probabilities = (logits.softmax(dim=1) if self.thresholds is None else logits.sigmoid()).numpy()
        return classifications(self.classes, probabilities, found.get("known"), self.thresholds)


class ExportedDetector:
    """An exported file as a ``Detector``.

    Args:
        file: Its path, or as it was opened.
        threshold: See ``RunDetector``.
        only: Classes to find, with commas between; by default all.
        max_detections: The most of an image; by default the file's own limit.

    Raises:
        UserError: The file cannot be used, is a classifier, or finds fewer objects, or the threshold is no score.
    """

    def __init__(
        self,
        file: str | Exported,
        threshold: Threshold = None,
        only: str | None = None,
        max_detections: int | None = None,
        device: str = "cpu",
    ):
        check_threshold(threshold)
        self.exported = _open(file, "detection", device)
        self.classes, self.square = self.exported.classes, square_of(self.exported.preprocessing)
        self.only = labels_of(only, self.classes)
        self.category_ids = self.exported.metadata.details["category_ids"]
        self.details = self.exported.metadata.details
        self.thresholds = of_each(self.details.get("thresholds"), self.classes)
        self.show_from(threshold)
        limit = int(self.details["limit"])
        self.most = max_detections or limit
        if self.exported.metadata.outputs[0] == "logits":
            self.details = {**self.details, "limit": self.most}
        elif self.most > limit:
            raise UserError(
                f"{self.exported.path} finds at most {limit} objects in an image: export the run with --max-detections "
                f"{self.most}."
            )
        self.spec = _spec(self.details, self.square, self.most)

    def show_from(self, threshold: Threshold) -> None:
        self.least = self.thresholds if threshold is None else threshold

    def detect(self, views: Sequence[torch.Tensor], sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        outputs = self.exported(torch.stack(list(views)).permute(0, 2, 3, 1).contiguous().numpy())
        if "logits" in outputs:
            outputs = finish(outputs, self.square.size, self.details)
        found = []
        for i, size in enumerate(sizes):
            boxes, scores, labels = (outputs[name][i] for name in ("boxes", "scores", "labels"))
            kept = (scores > 0) & (boxes[:, 2:] > boxes[:, :2]).all(1)
            if self.only is not None:
                kept &= np.isin(labels, self.only)
            boxes = self.square.back(boxes[kept], *size)
            every = Detections(i, boxes, scores[kept], labels[kept].astype(np.int64))
            every = every.chosen(np.asarray((boxes[:, 2:] > boxes[:, :2]).all(1)))
            found.append(above(every, self.least).chosen(slice(self.most)))
        return found


def finish(raw: dict[str, np.ndarray], size: int, details: dict) -> dict[str, np.ndarray]:
    """Detections of raw outputs: decoding and non-maximum suppression, as other exports have them inside."""
    logits, deltas, anchors = (torch.from_numpy(raw[name]) for name in ("logits", "deltas", "anchors"))
    scores = logits.softmax(-1)[..., :-1] if details["loss"] == "cross_entropy" else logits.sigmoid()
    boxes = decode(deltas, anchors, details["box_weights"]).clamp(0, size)
    choice = Choice(
        details["nms_threshold"],
        details["limit"],
        details.get("class_agnostic") or False,
        details.get("min_score") or 0.0,
        details.get("only"),
    )
    found = suppress(boxes, scores, size, choice)
    return dict(zip(("boxes", "scores", "labels"), (part.numpy() for part in found), strict=True))


def _spec(details: dict[str, Any], square: Square, most: int) -> DetectorSpec:
    """What is known of the detector's making that matters for what it finds."""
    tiles = details.get("tiles") or {}
    return DetectorSpec(
        image_size=square.size,
        resize=square.resize,
        nms=details["nms_threshold"],
        class_agnostic=details.get("class_agnostic") or False,
        max_detections=most,
        tiles=tiles.get("side"),
        overlap=tiles.get("overlap"),
    )


def _open(file: str | Exported, task: str, device: str) -> Exported:
    exported = file if isinstance(file, Exported) else open_exported(file, device=device)
    if exported.metadata.is_classifier != (task in CLASSIFIERS):
        raise UserError(f"{exported.path} holds a {exported.metadata.task} model, not one for {task}.")
    return exported
