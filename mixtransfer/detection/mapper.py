"""From detectron2's dataset dicts to the dicts that its models take."""

from typing import Any

import numpy as np
import torch
from PIL import Image

from mixtransfer.data.detection import Resize
from mixtransfer.data.detection.augment import BoxView
from mixtransfer.data.detection.dataset import Record
from mixtransfer.data.detection.square import Square
from mixtransfer.data.images import load_image
from mixtransfer.detection.tile_records import TileRecord
from mixtransfer.errors import UserError

CORNERS = 0  # detectron2's BoxMode.XYXY_ABS


def to_dataset_dict(record: Record) -> dict[str, Any]:
    """A record as detectron2's "standard dataset dict"; that of a tile has the ``window`` of the image that it is."""
    found = zip(record.boxes.tolist(), record.labels.tolist(), record.crowd.tolist(), strict=True)
    window = {"window": record.window} if isinstance(record, TileRecord) else {}
    return {
        "file_name": str(record.file),
        "image_id": record.image_id,
        "height": record.height,
        "width": record.width,
        "annotations": [
            {"bbox": box, "bbox_mode": CORNERS, "category_id": label, "iscrowd": int(crowd)}
            for box, label, crowd in found
        ],
        **window,
    }


class TrainingMapper:
    """Augmented views.

    Called with a dataset dict, gives a dict of ``file_name``, ``image_id``, ``height`` and ``width`` of the original,
    ``image`` (uint8, (3, size, size)) and ``instances`` with ``gt_boxes`` in its pixels and ``gt_classes``. Crowd is no
    target.

    Args:
        augment: Makes the views.
    """

    def __init__(self, augment: BoxView):
        self.augment = augment

    def __call__(self, example: dict[str, Any]) -> dict[str, Any]:
        """A view by NumPy's global random state, which detectron2's loaders seed in each of their processes."""
        return add_instances(self.view(example, int(np.random.randint(2**31))))

    def view(self, example: dict[str, Any], seed: int) -> dict[str, Any]:
        """The view of a seed, with ``boxes`` (float32, (n, 4)) and ``labels`` (int64, (n,)) for ``instances``."""
        targets = [one for one in example.get("annotations", ()) if not one.get("iscrowd")]
        boxes = np.array([_corners(one) for one in targets], dtype=np.float32).reshape(-1, 4)
        labels = np.array([one["category_id"] for one in targets], dtype=np.int64)
        shares = boxes / np.array([example["width"], example["height"]] * 2)
        pixels = np.asarray(picture_of(example, self.augment.min_side))
        view, boxes, labels = self.augment(pixels, shares, labels, seed)
        return {**origin(example), "image": _tensor(view), "boxes": boxes, "labels": labels}


class EvaluationMapper:
    """The whole image in a square; ``height``, ``width`` and, of letterboxes, ``place`` let a model scale boxes back.

    Called with a dataset dict, gives the dict of ``TrainingMapper`` without instances.

    Args:
        size, resize: See ``Square``.
    """

    def __init__(self, size: int, resize: Resize = "warp"):
        self.square = Square(size, resize)

    def __call__(self, example: dict[str, Any]) -> dict[str, Any]:
        width, height = example["width"], example["height"]
        view = self.square.view(np.asarray(picture_of(example, self.square.size)), width, height)
        return {**origin(example), **model_input(_tensor(view), self.square, width, height)}


def square_view(image: Image.Image, square: Square) -> torch.Tensor:
    """The square of an RGB image, uint8 (3, size, size)."""
    return _tensor(square.view(np.asarray(image)))


def model_input(view: torch.Tensor, square: Square, width: int, height: int) -> dict[str, Any]:
    """What an ``SSDLite`` takes for inference, to answer in the pixels of an image of a width and height."""
    place = {} if square.resize == "warp" else {"place": square.place(width, height)}
    return {"image": view, "width": width, "height": height, **place}


def add_instances(example: dict[str, Any]) -> dict[str, Any]:
    """Replace ``boxes`` and ``labels`` by detectron2's ``instances`` with ``gt_boxes`` and ``gt_classes``."""
    from mixtransfer.detection.compat import prepare_detectron2

    prepare_detectron2()
    from detectron2.structures import Boxes, Instances

    example = dict(example)
    boxes, labels = example.pop("boxes"), example.pop("labels")
    example["instances"] = Instances(
        tuple(example["image"].shape[1:]),
        gt_boxes=Boxes(torch.from_numpy(boxes)),
        gt_classes=torch.from_numpy(labels),
    )
    return example


def _corners(annotation: dict[str, Any]) -> list[float]:
    """The box of an annotation as x1, y1, x2, y2 in pixels, whichever of detectron2's modes it has."""
    if annotation["bbox_mode"] == CORNERS:
        return annotation["bbox"]
    from detectron2.structures import BoxMode

    return BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], BoxMode.XYXY_ABS)


def picture_of(example: dict[str, Any], min_side: int | None) -> Image.Image:
    """The image or tile, RGB; for ``min_side`` see ``load_image``.

    Raises:
        UserError: The file cannot be used (any more).
    """
    window = example.get("window")
    try:
        image = load_image(example["file_name"], None if window else min_side)
        return image.crop(tuple(window)) if window else image
    except ValueError as error:
        raise UserError(f"{example['file_name']} {error}: mend or remove it, then go on with --resume.") from error


def origin(example: dict[str, Any]) -> dict[str, Any]:
    """What a model's dict says of the image."""
    return {name: example[name] for name in ("file_name", "image_id", "height", "width")}


def _tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)
