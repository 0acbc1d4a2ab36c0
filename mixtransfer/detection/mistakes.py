"""What kind of mistakes a detector makes, after TIDE (Bolya et al., ECCV 2020)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mixtransfer.data.detection.dataset import Record
from mixtransfer.detection.scores import Detections

KINDS = {
    "class": "right place, wrong class",
    "localization": "right class, wrong place (IoU from 0.1 to 0.5)",
    "both": "wrong class and wrong place",
    "duplicate": "an object found once more",
    "background": "nothing is there",
    "missed": "an object without any of these",
}
FOREGROUND, BACKGROUND = 0.5, 0.1  # IoU


@dataclass
class Mistakes:
    """The detections of one image at a score threshold, judged.

    Attributes:
        correct: Number of objects found.
        kinds: What is wrong with each wrong detection, by its position; see ``KINDS``.
        missed: Positions among the image's targets that no detection accounts for.
    """

    correct: int = 0
    kinds: dict[int, str] = field(default_factory=dict)
    missed: list[int] = field(default_factory=list)


def judge(record: Record, detections: Detections, threshold: float) -> Mistakes:
    """Sort the detections of an image that score at least ``threshold``.

    The best detections choose first. One that overlaps a free object of its class by IoU 0.5 is correct; the others
    get the first kind that fits: duplicate, class, localization, both, background. Detections on crowds are left out.
    """
    boxes, labels = record.targets
    crowd = record.boxes[record.crowd]
    result = Mistakes()
    free = np.ones(len(boxes), dtype=bool)
    explained = np.zeros(len(boxes), dtype=bool)
    wrong = []
    for i in np.argsort(-detections.scores, kind="stable"):
        if detections.scores[i] < threshold:
            break
        overlap = box_iou(detections.boxes[i : i + 1], boxes)[0]
        same = labels == detections.labels[i]
        if (choices := np.flatnonzero(same & free & (overlap >= FOREGROUND))).size:
            best = choices[overlap[choices].argmax()]
            free[best] = False
            explained[best] = True
            result.correct += 1
        else:
            wrong.append((int(i), overlap, same))
    for i, overlap, same in wrong:
        if (same & (overlap >= FOREGROUND)).any():
            result.kinds[i] = "duplicate"
        elif (close := ~same & (overlap >= FOREGROUND)).any():
            result.kinds[i] = "class"
            explained |= close
        elif len(crowd) and _covered(detections.boxes[i], crowd) >= FOREGROUND:
            continue
        elif (near := same & (overlap >= BACKGROUND)).any():
            result.kinds[i] = "localization"
            explained |= near
        elif (overlap >= BACKGROUND).any():
            result.kinds[i] = "both"
        else:
            result.kinds[i] = "background"
    result.missed = np.flatnonzero(~explained).tolist()
    return result


def count_mistakes(mistakes: Sequence[Mistakes]) -> dict[str, int]:
    """How often each of ``KINDS`` occurs."""
    counts = dict.fromkeys(KINDS, 0)
    for one in mistakes:
        for kind in one.kinds.values():
            counts[kind] += 1
        counts["missed"] += len(one.missed)
    return counts


def best_threshold(records: Sequence[Record], detections: Sequence[Detections]) -> float:
    """The score from which on precision and recall at IoU 0.5 have the largest F1."""
    scores, hits, objects = [], [], 0
    for record, found in zip(records, detections, strict=True):
        objects += len(record.targets[0])
        wrong = judge(record, found, 0.0).kinds
        scores += found.scores.tolist()
        hits += [i not in wrong for i in range(len(found.scores))]
    if not scores or not objects:
        return 0.5
    order = np.argsort(-np.array(scores), kind="stable")
    correct = np.cumsum(np.array(hits)[order])
    f1 = 2 * correct / (np.arange(1, len(order) + 1) + objects)
    return float(np.array(scores)[order][f1.argmax()])


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (m, 4) and (n, 4) as corners: (m, n)."""
    common = np.minimum(a[:, None, 2:], b[:, 2:]) - np.maximum(a[:, None, :2], b[:, :2])
    common = np.clip(common, 0, None).prod(axis=-1)
    areas = (a[:, 2:] - a[:, :2]).prod(axis=-1)[:, None] + (b[:, 2:] - b[:, :2]).prod(axis=-1)
    return common / np.maximum(areas - common, 1e-9)


def _covered(box: np.ndarray, crowd: np.ndarray) -> float:
    """The largest share of a box that lies on one crowd region."""
    common = np.minimum(box[2:], crowd[:, 2:]) - np.maximum(box[:2], crowd[:, :2])
    return float((np.clip(common, 0, None).prod(axis=-1) / max((box[2:] - box[:2]).prod(), 1e-9)).max())
