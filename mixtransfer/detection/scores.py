"""COCO's average precision of detections, by faster-coco-eval: pycocotools' numbers in an eighth of its time."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mixtransfer.data.detection.coco import coco_json
from mixtransfer.data.detection.dataset import Record

SIZES = ("small", "medium", "large")  # of areas, after all of them


@dataclass(frozen=True)
class Detections:
    """What a detector finds in one image: n objects, best first.

    Attributes:
        image_id: See ``Record``.
        boxes: Corners x1, y1, x2, y2 in pixels of the image, float32, shape (n, 4).
        scores: Between 0 and 1, float32, shape (n,).
        labels: Positions in the detector's classes, int64, shape (n,).
    """

    image_id: int
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    def chosen(self, which: slice | np.ndarray) -> "Detections":
        """Some of them."""
        return Detections(self.image_id, self.boxes[which], self.scores[which], self.labels[which])


@dataclass(frozen=True)
class CocoScores:
    """Average precisions in percent; None where there is no box to find.

    Attributes:
        ap: AP (mean over IoU thresholds 0.5, 0.55 … 0.95), AP50, AP75, APs, APm, APl of small (area below 32²),
            medium and large (96² and more) objects, and AR: the recall of all detections, mean over these IoUs.
        per_class: AP of each class, by name.
        precision: At these IoUs, for recalls 0, 0.01 … 1 and each class: shape (10, 101, classes), NaN for a class
            without boxes.
    """

    ap: dict[str, float | None]
    per_class: dict[str, float | None]
    precision: np.ndarray

    def to_dict(self) -> dict:
        """For ``metrics.json``."""
        return {**self.ap, "classes": self.per_class}


def coco_results(detections: Sequence[Detections], category_ids: Sequence[int]) -> list[dict]:
    """Detections in COCO's results format, with the data's own category ids."""
    results = []
    for one in detections:
        sizes = one.boxes[:, 2:] - one.boxes[:, :2]
        for corner, size, score, label in zip(one.boxes[:, :2], sizes, one.scores, one.labels, strict=True):
            results.append(
                {
                    "image_id": one.image_id,
                    "category_id": category_ids[label],
                    "bbox": [round(float(value), 2) for value in (*corner, *size)],
                    "score": round(float(score), 5),
                }
            )
    return results


def coco_scores(
    records: Sequence[Record], detections: Sequence[Detections], classes: list[str], category_ids: list[int]
) -> CocoScores:
    """Score detections as COCO does; crowd boxes are neither found nor missed, and of an image with more than 100
    detections all count.

    Args:
        records: The truth.
        detections: Of the same images, in any order; an image without any may be absent.
        classes, category_ids: See ``DetectionDataset``.
    """
    truth = coco_json(records, classes, category_ids)
    evaluation = _evaluated(truth, coco_results(detections, category_ids))
    precision = evaluation.eval["precision"]  # (IoU thresholds, recalls, classes, areas, limits); -1: nothing to find
    every = precision[:, :, :, 0, -1]
    return CocoScores(
        {
            "AP": _mean(every),
            "AP50": _mean(every[0]),
            "AP75": _mean(every[5]),
            **{f"AP{size[0]}": _mean(precision[:, :, :, i, -1]) for i, size in enumerate(SIZES, 1)},
            "AR": _mean(evaluation.eval["recall"][:, :, 0, -1]),
        },
        {name: _mean(every[:, :, i]) for i, name in enumerate(classes)},
        np.where(every < 0, np.nan, every),
    )


def _evaluated(truth: dict, results: list[dict]):
    from faster_coco_eval import COCO, COCOeval_faster

    known = COCO(truth)
    evaluation = COCOeval_faster(known, known.loadRes(results), "bbox")
    most = max(Counter(one["image_id"] for one in results).values(), default=0)
    evaluation.params.maxDets = [max(100, most)]
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation


def _mean(precision: np.ndarray) -> float | None:
    """In percent; None where there is nothing to find."""
    known = precision[precision >= 0]
    return float(100 * known.mean()) if known.size else None
