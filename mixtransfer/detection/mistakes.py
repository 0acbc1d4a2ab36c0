"""What kind of mistakes a detector makes, and what each kind costs, after TIDE (Bolya et al., ECCV 2020).

TIDE's own package (tidecv) had its last release in 2020 and needs pandas, seaborn and another OpenCV.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from mixtransfer.data.detection.dataset import Record
from mixtransfer.detection.bootstrap import interpolated
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
    """The detections of one image, judged; numbers are positions among them and among the image's targets.

    Attributes:
        found: The target of each right detection.
        kinds: What is wrong with each wrong one; see ``KINDS``. Detections on a crowd of their class are neither.
        meant: The target that a detection of the kind class or localization would have found, if it is still free.
        missed: Targets that no detection finds or means.
    """

    found: dict[int, int] = field(default_factory=dict)
    kinds: dict[int, str] = field(default_factory=dict)
    meant: dict[int, int] = field(default_factory=dict)
    missed: list[int] = field(default_factory=list)


def judge(record: Record, detections: Detections) -> Mistakes:
    """Sort the detections of an image.

    The best detections choose first. One that overlaps a free object of its class by IoU 0.5 is right; the others get
    the first kind that fits, in TIDE's order: localization, class, duplicate, background, both.
    """
    boxes, labels = record.targets
    crowd, crowd_labels = record.boxes[record.crowd], record.labels[record.crowd]
    result = Mistakes()
    overlaps = box_iou(detections.boxes, boxes)
    alike = detections.labels[:, None] == labels
    same, other = np.where(alike, overlaps, 0.0), np.where(alike, 0.0, overlaps)
    near, elsewhere = same.max(axis=1, initial=0.0), other.max(axis=1, initial=0.0)
    free = np.ones(len(boxes), dtype=bool)
    for i in np.argsort(-detections.scores, kind="stable").tolist():
        if near[i] >= FOREGROUND and (fits := np.where(free, same[i], 0.0)).max() >= FOREGROUND:
            result.found[i] = int(fits.argmax())
            free[result.found[i]] = False
    for i in range(len(detections.scores)):
        if i in result.found or (
            len(crowd) and _covered(detections.boxes[i], crowd[crowd_labels == detections.labels[i]])
        ):
            continue
        if BACKGROUND <= near[i] < FOREGROUND:
            result.kinds[i], target = "localization", int(same[i].argmax())
        elif elsewhere[i] >= FOREGROUND:
            result.kinds[i], target = "class", int(other[i].argmax())
        else:
            place = "background" if elsewhere[i] < BACKGROUND else "both"
            result.kinds[i] = "duplicate" if near[i] >= FOREGROUND else place
            continue
        if free[target]:
            result.meant[i] = target
    accounted = {*result.found.values(), *result.meant.values()}
    result.missed = [target for target in range(len(boxes)) if target not in accounted]
    return result


def count_mistakes(mistakes: Sequence[Mistakes]) -> dict[str, int]:
    """How often each of ``KINDS`` occurs."""
    counts = dict.fromkeys(KINDS, 0)
    for one in mistakes:
        for kind in one.kinds.values():
            counts[kind] += 1
        counts["missed"] += len(one.missed)
    return counts


def confusion(
    records: Sequence[Record], detections: Sequence[Detections], mistakes: Sequence[Mistakes], classes: int
) -> np.ndarray:
    """Objects by what they were found as, shape (classes + 1, classes + 1).

    Row: the true class, or the background, of which a detection is a false alarm. Column: the class that an object is
    found as by IoU 0.5, its own before others, or the background, if it is not found.
    """
    matrix = np.zeros((classes + 1, classes + 1), dtype=np.int64)
    for record, found, one in zip(records, detections, mistakes, strict=True):
        labels = record.targets[1]
        taken = dict(one.found)
        others = [i for i, kind in one.kinds.items() if kind == "class" and i in one.meant]
        for i in sorted(others, key=lambda i: -found.scores[i]):
            if one.meant[i] not in taken.values():
                taken[i] = one.meant[i]
        for i in (*one.found, *one.kinds):
            matrix[labels[taken[i]] if i in taken else classes, found.labels[i]] += 1
        for target in set(range(len(labels))) - set(taken.values()):
            matrix[labels[target], classes] += 1
    return matrix


def cost_of_mistakes(records: Sequence[Record], detections: Sequence[Detections]) -> dict[str, float | None]:
    """What AP50 would gain, in points, if the mistakes of a kind were mended and all others stayed: TIDE's dAP.

    Mended means: a detection that means an object by the wrong class, or place, is right if no better one means it too,
    else gone; duplicates, background and both are gone; missed objects are not there to find.

    Args:
        records: The truth.
        detections: All of each image, whatever their score.

    Returns:
        By kind; None where there is no object.
    """
    every = [judge(record, found) for record, found in zip(records, detections, strict=True)]
    before = _ap50(records, detections, every, ())
    if before is None:
        return dict.fromkeys(KINDS)
    mended = {kind: _ap50(records, detections, every, (kind,)) for kind in KINDS}
    return {kind: 100.0 - before if after is None else after - before for kind, after in mended.items()}


def _ap50(
    records: Sequence[Record], detections: Sequence[Detections], mistakes: Sequence[Mistakes], mended: Collection[str]
) -> float | None:
    """AP50 in percent with some kinds mended; None where there is nothing to find."""
    labels, scores, right = [], [], []
    boxes: dict[int, int] = {}
    for record, found, one in zip(records, detections, mistakes, strict=True):
        targets = record.targets[1]
        gone = set(one.missed) if "missed" in mended else set()
        for target, label in enumerate(targets.tolist()):
            boxes[label] = boxes.get(label, 0) + (target not in gone)
        best: dict[int, int] = {}  # the detection that is mended, of each target
        for i, target in one.meant.items():
            if target not in best or found.scores[i] > found.scores[best[target]]:
                best[target] = i
        for i, score in enumerate(found.scores.tolist()):
            kind = one.kinds.get(i)
            if i in one.found or (kind is not None and kind not in mended):
                labels.append(int(found.labels[i]))
            elif kind is not None and best.get(one.meant.get(i, -1)) == i:
                labels.append(int(targets[one.meant[i]]))
            else:
                continue
            scores.append(score)
            right.append(kind is None or kind in mended)
    order = np.argsort(-np.array(scores), kind="stable")
    label, hit = np.array(labels, dtype=np.int64)[order], np.array(right, dtype=bool)[order]
    values = []
    for name, count in boxes.items():
        if count:
            seen = 1 + np.flatnonzero(hit[label == name])
            found_so_far = np.arange(1, len(seen) + 1)
            values.append(float(interpolated(seen[None], found_so_far[None], np.array([count]))[0]))
    return 100 * float(np.mean(values)) if values else None


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (m, 4) and (n, 4) as corners: (m, n)."""
    common = np.minimum(a[:, None, 2:], b[:, 2:]) - np.maximum(a[:, None, :2], b[:, :2])
    common = np.clip(common, 0, None).prod(axis=-1)
    areas = (a[:, 2:] - a[:, :2]).prod(axis=-1)[:, None] + (b[:, 2:] - b[:, :2]).prod(axis=-1)
    return common / np.maximum(areas - common, 1e-9)


def _covered(box: np.ndarray, crowd: np.ndarray) -> bool:
    """Whether at least half of a box lies on one of the crowd regions."""
    common = np.minimum(box[2:], crowd[:, 2:]) - np.maximum(box[:2], crowd[:, :2])
    shares = np.clip(common, 0, None).prod(axis=-1) / max((box[2:] - box[:2]).prod(), 1e-9)
    return bool(shares.max(initial=0.0) >= FOREGROUND)
