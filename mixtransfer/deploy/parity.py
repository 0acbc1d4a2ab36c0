"""Whether an exported file computes what PyTorch computes, on images."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from scipy.special import logit
from torchvision.ops import box_iou

from mixtransfer.deploy.exported import Exported

BATCH = 8
KNOWN_SHARES = 20  # how known an image looks may differ by so many times the share that logits may
SHOWN = 0.3  # detections with smaller scores are not compared: no one is shown them


@dataclass(frozen=True)
class Parity:
    """An exported file against PyTorch.

    Attributes:
        images: How many were compared.
        source: What they are, in words.
        difference: The largest absolute difference: of logits, of raw outputs, or of scores; infinite too where how
            known an image looks differs by more than 0.02, in 16 bits 0.2.
        tolerance: What it may be: 0.001 of the largest value that PyTorch gives, 0.01 in 16 bits.
        changed: Images whose most probable class, or whose shown detections, are others.
        pixels: Of detections, how far the corners of the boxes are off at most.
        pixel_tolerance: How far they may be.
        known: How far the share is off at most that says how known an image looks, where the file has it.
    """

    images: int
    source: str
    difference: float
    tolerance: float
    changed: int
    pixels: float | None = None
    pixel_tolerance: float = 0.5
    known: float | None = None

    @property
    def holds(self) -> bool:
        """Differences within the tolerance; then a changed prediction was a tie."""
        return self.difference <= self.tolerance and (self.pixels is None or self.pixels <= self.pixel_tolerance)

    def to_dict(self) -> dict:
        return asdict(self)

    def __str__(self) -> str:
        boxes = "" if self.pixels is None else f" and {self.pixels:.2g} pixels"
        boxes += "" if self.known is None else f", in how known an image looks by {self.known:.2g}"
        return (
            f"On {self.images} images ({self.source}): differs from PyTorch by at most {self.difference:.2g}{boxes} "
            f"(tolerance {self.tolerance:.2g}), {self.changed} predictions changed."
        )


def compare(
    exported: Exported,
    reference: Callable[[torch.Tensor], dict[str, np.ndarray]],
    views: np.ndarray,
    source: str,
    half: bool = False,
) -> Parity:
    """Run a file and PyTorch on the same images.

    Args:
        exported: The file.
        reference: Outputs by name, as the file's, for uint8 images (n, 3, size, size).
        views: uint8 (n, size, size, 3).
        source: See ``Parity``.
        half: Whether the file computes in 16-bit floating point: ten times as much may differ.
    """
    share = 1e-2 if half else 1e-3
    expected, found = [], []
    for start in range(0, len(views), BATCH):
        batch = views[start : start + BATCH]
        expected.append(reference(torch.from_numpy(batch).permute(0, 3, 1, 2)))
        found.append(exported(batch))
    if "labels" in exported.metadata.outputs:
        return _compare_detections(expected, found, len(views), source, share)
    outputs = [name for name in exported.metadata.outputs if name != "known"]
    pairs = [(a[name], b[name]) for a, b in zip(expected, found, strict=True) for name in outputs]
    # Each output has a range of its own, but all are about as large as the largest: logits, deltas, pixels of anchors.
    difference = max(float(np.abs(a - b).max()) for a, b in pairs)
    tolerance = share * max(1.0, max(float(np.abs(a).max()) for a, _ in pairs))
    known = None
    if "known" in exported.metadata.outputs:
        known = max(float(np.abs(a["known"] - b["known"]).max()) for a, b in zip(expected, found, strict=True))
        difference = difference if known <= KNOWN_SHARES * share else float("inf")
    first = outputs[0]
    thresholds = exported.metadata.label_thresholds
    if thresholds is not None and first == "logits":
        thresholds = logit(thresholds)

    def said(output: np.ndarray) -> np.ndarray:
        """What is answered: the best, or of several labels those above their thresholds."""
        return output.argmax(-1) if thresholds is None else output >= thresholds

    changed = sum(
        int((said(a[first]) != said(b[first])).reshape(len(a[first]), -1).any(1).sum())
        for a, b in zip(expected, found, strict=True)
    )
    return Parity(len(views), source, _or_infinite(difference), tolerance, changed, known=known)


def _compare_detections(expected: list[dict], found: list[dict], images: int, source: str, share: float) -> Parity:
    difference, pixels, changed = 0.0, 0.0, 0
    for a, b in zip(expected, found, strict=True):
        for i in range(len(a["scores"])):
            same = True
            for one, other in ((a, b), (b, a)):
                shown = one["scores"][i] > SHOWN
                match = _match(one, other, i)[shown]
                same &= bool((match >= 0).all())
                kept = match[match >= 0]
                scores = one["scores"][i][shown][match >= 0] - other["scores"][i][kept]
                boxes = one["boxes"][i][shown][match >= 0] - other["boxes"][i][kept]
                difference = max(difference, float(np.abs(scores).max(initial=0)))
                pixels = max(pixels, float(np.abs(boxes).max(initial=0)))
            # A score beside the threshold of suppression may tip over; a lost object may not.
            changed += not same
    if changed > images // 20:
        difference = float("inf")
    return Parity(images, source, _or_infinite(difference), share, changed, pixels, 500 * share)


def _match(one: dict, other: dict, i: int) -> np.ndarray:
    """For each detection the other's of the same class and place, or -1."""
    overlap = box_iou(torch.from_numpy(one["boxes"][i]), torch.from_numpy(other["boxes"][i])).numpy()
    overlap = np.where(one["labels"][i][:, None] == other["labels"][i], overlap, 0) * (other["scores"][i] > 0)
    return np.where(overlap.max(1) > 0.9, overlap.argmax(1), -1)


def _or_infinite(difference: float) -> float:
    return difference if np.isfinite(difference) else float("inf")
