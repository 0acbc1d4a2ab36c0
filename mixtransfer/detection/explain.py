"""Where in an image a detector reads its boxes' classes from."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from PIL import Image

from mixtransfer.classification.explain import Explanation
from mixtransfer.detection.drawing import draw_detections
from mixtransfer.detection.mapper import model_input
from mixtransfer.detection.predict import RunDetector
from mixtransfer.detection.scores import Detections

PIXELS_APART = 2.0  # a box that is found lies so near to one that the network gives, in the square


@dataclass(frozen=True, eq=False)
class BoxExplanation:
    """Where the class of each box of an image was read from.

    Attributes:
        classes: Names of all.
        view: What the network was shown, uint8 (size, size, 3).
        found: The boxes, in pixels of the view.
        weights: How much each place speaks for a box's class, relative to the one that speaks most for it: float32
            (boxes, size, size) from 0 to 1.
    """

    classes: list[str]
    view: np.ndarray
    found: Detections
    weights: np.ndarray

    def drawn(self) -> Image.Image:
        """The view, overlaid with the maps' colours, where several meet the brightest, and with the boxes."""
        highest = self.weights.max(0, initial=0)
        return draw_detections(Explanation("", self.view, highest).drawn(), self.found, self.classes)


def explain_boxes(detector: RunDetector, image: Image.Image, found: Detections | None = None) -> BoxExplanation:
    """Class activation maps of what a detector finds in an RGB image, best first.

    By the gradient place by place (Jiang et al., "LayerCAM", IEEE Transactions on Image Processing 2021) of the class's
    logit at the box's anchor, on the finest map that the head reads: those of the coarser heads have a few cells only.

    Args:
        found: What was found in the whole image; by default it is looked for.
    """
    view = detector.square.view(np.asarray(image))
    planes = torch.from_numpy(np.ascontiguousarray(view.transpose(2, 0, 1)))
    if found is None:
        (found,) = detector.detect([planes], [image.size])
    size, model = detector.square.size, detector.model
    boxes = detector.square.into(found.boxes, *image.size).astype(np.float32)
    inside = Detections(0, boxes, found.scores, found.labels)
    if not len(boxes):
        return BoxExplanation(detector.classes, view, inside, np.zeros((0, size, size), np.float32))
    with torch.inference_mode(False), torch.enable_grad():
        inputs = model.preprocess([model_input(planes, detector.square, *image.size)]).tensor.clone().requires_grad_()
        maps = list(model.backbone(inputs).values())
        logits, deltas = model.head(maps)
        anchors = model.anchor_generator([tuple(x.shape[-2:]) for x in maps], (size, size), inputs.device)
        given = model.box_transform.apply_deltas(deltas[0].detach().float(), anchors).clamp(0, size).cpu().numpy()
        scores = model.classification_loss.scores(logits[0].detach().float()).cpu().numpy()
        weights = []
        for box, score, label in zip(boxes, found.scores.tolist(), found.labels.tolist(), strict=True):
            anchor = _anchor_of(given, scores[:, label], box, score)
            weights.append(_map_of(logits[0, anchor, label], maps, size))
    return BoxExplanation(detector.classes, view, inside, np.stack(weights))


def _anchor_of(boxes: np.ndarray, scores: np.ndarray, box: np.ndarray, score: float) -> int:
    """The anchor that gave a box: of those whose boxes lie there the one with the nearest score."""
    apart = np.abs(boxes - box).max(1)
    near = apart <= max(PIXELS_APART, apart.min())
    return int(np.where(near, np.abs(scores - score), np.inf).argmin())


def _map_of(logit: torch.Tensor, maps: Sequence[torch.Tensor], size: int) -> np.ndarray:
    """What speaks for a logit, on the finest map that it depends on; float32 (size, size)."""
    slopes = torch.autograd.grad(logit, maps, retain_graph=True, allow_unused=True)
    for activation, slope in zip(maps, slopes, strict=True):
        if slope is not None and bool(slope.any()):
            spoken = (slope.relu() * activation.detach().relu())[0].sum(0)
            own = (spoken / spoken.amax().clamp(min=1e-12)).float().cpu().numpy()
            return cv2.resize(own, (size, size), interpolation=cv2.INTER_LINEAR)
    return np.zeros((size, size), np.float32)
