"""The networks that are exported: plain tensors in, plain tensors out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torchvision.ops import nms

from mixtransfer.backbones.fuse import fuse
from mixtransfer.backbones.mixconv import MixConv2d
from mixtransfer.classification.known import KnownScore, WithKnown
from mixtransfer.data.preprocessing import Normalize, Preprocessing

CANDIDATES = 1000  # of an image go through non-maximum suppression, at least
CANDIDATES_EACH = 10  # and for each detection that an image may have


@dataclass(frozen=True)
class Rule:
    """How a runtime wants MixConv layers: the arguments of ``fuse``.

    Attributes:
        merge: Whether a depthwise MixConv becomes one convolution.
        pointwise: What timm's 1×1 convolutions in groups become.
    """

    merge: bool | Callable[[MixConv2d], bool] = True
    pointwise: str = "grouped"


@dataclass(frozen=True)
class Choice:
    """How detections are chosen: see ``DetectorSpec``.

    Attributes:
        only: Labels of the classes that are found; None: all.
    """

    nms: float
    limit: int
    class_agnostic: bool = False
    min_score: float = 0.0
    only: Sequence[int] | None = None


class ExportNetwork(nn.Module):
    """A trained network behind its input.

    Images are float32 (n, 3, size, size), normalised; or, with the preprocessing inside, uint8 (n, size, size, 3) as
    image files decode.

    Attributes:
        outputs: Names of what it returns, in order.
    """

    outputs: tuple[str, ...]

    def __init__(self, preprocessing: Preprocessing, inside: bool):
        super().__init__()
        self.size = preprocessing.size
        self.normalize = Normalize(preprocessing) if inside else None

    def example(self, batch: int = 2) -> torch.Tensor:
        """An input of the right shape and type."""
        if self.normalize is None:
            return torch.zeros(batch, 3, self.size, self.size)
        return torch.zeros(batch, self.size, self.size, 3, dtype=torch.uint8)

    def planes(self, images: torch.Tensor) -> torch.Tensor:
        return images if self.normalize is None else self.normalize(images.permute(0, 3, 1, 2))


class ExportClassifier(ExportNetwork):
    """Images to ``logits`` (n, classes), or to ``probabilities``, and, if asked, ``known`` (n).

    Args:
        softmax: Give probabilities, by softmax or, of several labels an image, of each by itself.
    """

    def __init__(
        self,
        model: nn.Module,
        preprocessing: Preprocessing,
        inside: bool,
        rule: Rule,
        softmax: bool = False,
        known: KnownScore | None = None,
        multilabel: bool = False,
    ):
        super().__init__(preprocessing, inside)
        self.multilabel = multilabel
        fused = fuse(model, rule.merge, rule.pointwise)
        self.model = WithKnown(fused, known) if known else fused
        self.outputs = ("probabilities" if softmax else "logits", *(["known"] if known else []))

    def forward(self, images: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        answer = self.model(self.planes(images))
        logits, *known = answer if "known" in self.outputs else (answer,)
        first = logits
        if "probabilities" in self.outputs:
            first = logits.sigmoid() if self.multilabel else logits.softmax(1)
        return (first, *known) if known else first


class ExportDetector(ExportNetwork):
    """Images to ``logits``, ``deltas`` and ``anchors`` of an SSDLite, or to what it finds.

    Raw outputs: class logits (n, anchors, …), box deltas (n, anchors, 4), anchors (anchors, 4). Otherwise the best
    detections of each image, best first: ``boxes`` (n, limit, 4) as x1, y1, x2, y2 in pixels of the square, ``scores``
    (n, limit), 0 where there are fewer, and ``labels`` (n, limit).
    """

    anchors: torch.Tensor

    def __init__(self, model: Any, preprocessing: Preprocessing, inside: bool, rule: Rule, raw: bool):
        super().__init__(preprocessing, inside)
        fused: Any = fuse(model, rule.merge, rule.pointwise)
        self.backbone, self.head, self.raw = fused.backbone, fused.head, raw
        self.outputs = ("logits", "deltas", "anchors") if raw else ("boxes", "scores", "labels")
        self.scores: Callable[[torch.Tensor], torch.Tensor] = model.classification_loss.scores
        self.choice = Choice(
            model.nms_threshold, model.detections_per_image, model.class_agnostic, model.score_threshold, model.only
        )
        self.weights = model.box_transform.weights
        with torch.inference_mode():
            *_, anchors = fused.predict(torch.zeros(1, 3, self.size, self.size))
        self.register_buffer("anchors", anchors.clone())

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        logits, deltas = self.head(list(self.backbone(self.planes(images)).values()))
        if self.raw:
            return logits, deltas, self.anchors.clone()
        boxes = decode(deltas, self.anchors, self.weights).clamp(0, self.size)
        return suppress(boxes, self.scores(logits), self.size, self.choice)


def decode(deltas: torch.Tensor, anchors: torch.Tensor, weights: tuple[float, ...]) -> torch.Tensor:
    """Boxes (n, anchors, 4) from deltas, as detectron2's ``Box2BoxTransform`` has it."""
    corner, other = anchors.split(2, dim=-1)
    sizes = other - corner
    shift, log_ratio = (deltas / deltas.new_tensor(weights)).split(2, dim=-1)
    centres = corner + 0.5 * sizes + shift * sizes
    half = 0.5 * sizes * log_ratio.clamp(max=4.135166556742356).exp()  # log(1000 / 16), its own limit
    return torch.cat((centres - half, centres + half), -1)


def suppress(
    boxes: torch.Tensor, scores: torch.Tensor, size: int, choice: Choice
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``best_detections`` of a whole batch with shapes that do not depend on the values.

    It differs where more than ``CANDIDATES`` of an image, and more than ``CANDIDATES_EACH`` times the limit, would have
    to be looked at, or more than 300 of one class: then the worst detections may be others.

    Args:
        boxes: (n, anchors, 4), between 0 and ``size``.
        scores: (n, anchors, classes).
        choice: How they are chosen.
    """
    count, anchors, classes = scores.shape
    if choice.only is not None:
        scores = scores * scores.new_tensor([float(label in choice.only) for label in range(classes)])
    top, index = scores.flatten(1).topk(min(max(CANDIDATES, CANDIDATES_EACH * choice.limit), anchors * classes))
    labels = index % classes
    found = boxes.gather(1, (index // classes)[..., None].expand(-1, -1, 4))
    # Classes side by side and images one below the other, so that one suppression serves them all.
    image = torch.arange(count, device=boxes.device)[:, None].expand_as(labels)
    column = torch.zeros_like(labels) if choice.class_agnostic else labels
    place = torch.stack((column, image), -1).to(boxes.dtype) * (size + 1)
    kept = nms((found + place.repeat(1, 1, 2)).flatten(0, 1), top.flatten(), choice.nms)
    mask = torch.zeros_like(top).flatten().scatter(0, kept, torch.ones_like(kept, dtype=top.dtype))
    top = top * mask.view_as(top) * (top > choice.min_score)
    best, order = top.topk(min(choice.limit, top.shape[1]))
    return found.gather(1, order[..., None].expand(-1, -1, 4)), best, labels.gather(1, order)
