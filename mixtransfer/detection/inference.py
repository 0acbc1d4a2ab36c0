"""Running a detector over a dataset: numbers come back, images do not stay."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from mixtransfer.backbones.fuse import for_inference
from mixtransfer.data.detection.dataset import Record
from mixtransfer.data.detection.square import Square
from mixtransfer.detection.loader import EvaluationLoader
from mixtransfer.detection.scores import Detections
from mixtransfer.detection.spec import DetectorSpec
from mixtransfer.detection.tiles import merged
from mixtransfer.detection.tiling import Tiling


@torch.inference_mode()
def detect(
    model: nn.Module,
    records: Sequence[Record],
    square: Square,
    batch_size: int = 8,
    workers: int | None = None,
    rank: int = 0,
    world: int = 1,
    progress: bool = True,
    tiling: Tiling | None = None,
) -> list[Detections]:
    """What the model finds in each image, in order; of several processes each does its share.

    Args:
        model: An ``SSDLite``.
        square: What it is shown of each image.
        rank, world: This process and the number of processes; each takes every world-th record.
        tiling: How images are cut; their tiles then go through the network ``batch_size`` at a time.
    """
    if not records[rank::world]:
        return []
    model = for_inference(model, model.device)  # type: ignore[arg-type]
    loader = EvaluationLoader(records, square, batch_size, workers, rank, world, tiling)
    spec = DetectorSpec(
        max_detections=cast(int, model.detections_per_image),
        nms=cast(float, model.nms_threshold),
        class_agnostic=cast(bool, model.class_agnostic),
    )
    found = []
    for batch in tqdm(loader, "Detecting", leave=False, disable=None if progress else True):
        results = []
        for start in range(0, len(batch), batch_size):
            results += model(batch[start : start + batch_size])
        parts = [to_detections(e["image_id"], r["instances"]) for e, r in zip(batch, results, strict=True)]
        found += [merged(parts, np.array([view["window"] for view in batch]), spec)] if tiling else parts
    return found


def to_detections(image_id: int, instances) -> Detections:
    """detectron2's ``Instances`` of one image as arrays."""
    instances = instances.to("cpu")
    return Detections(
        image_id,
        instances.pred_boxes.tensor.float().numpy(),
        instances.scores.float().numpy(),
        instances.pred_classes.long().numpy(),
    )
