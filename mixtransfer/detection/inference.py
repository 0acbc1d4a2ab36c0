"""Running a detector over a dataset: numbers come back, images do not stay."""

from collections.abc import Sequence

import torch
from torch import nn
from tqdm import tqdm

from mixtransfer.backbones.fuse import for_inference
from mixtransfer.data.detection.dataset import Record
from mixtransfer.data.detection.square import Square
from mixtransfer.detection.loader import EvaluationLoader
from mixtransfer.detection.scores import Detections


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
) -> list[Detections]:
    """What the model finds in each image, in order; of several processes each does its share.

    Args:
        model: An ``SSDLite``.
        square: What it is shown of each image.
        rank, world: This process and the number of processes; each takes every world-th record.
    """
    model = for_inference(model, model.device)  # type: ignore[arg-type]
    loader = EvaluationLoader(records, square, batch_size, workers, rank, world)
    found = []
    for batch in tqdm(loader, "Detecting", leave=False, disable=None if progress else True):
        for example, result in zip(batch, model(batch), strict=True):
            found.append(to_detections(example["image_id"], result["instances"]))
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
