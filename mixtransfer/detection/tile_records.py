"""Tiles of annotated images, to train on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from mixtransfer.data.detection.dataset import DetectionDataset, Record
from mixtransfer.data.division import counted
from mixtransfer.detection.options import TrainOptions
from mixtransfer.detection.tiling import Tiling, as_tiling

LEAST_SHARE = 0.3  # of a box's area that must lie in a tile for the box to be of it


@dataclass(frozen=True)
class TileRecord(Record):
    """A tile as if it were an image: ``width`` and ``height`` are its own, and boxes are in its pixels.

    Attributes:
        left, top: Where it lies in its image, in pixels.
    """

    left: int = 0
    top: int = 0

    @property
    def window(self) -> tuple[int, int, int, int]:
        """What it shows of its image: x1, y1, x2, y2 in pixels."""
        return self.left, self.top, self.left + self.width, self.top + self.height


def cut(options: TrainOptions, dataset: DetectionDataset, say: Callable[[str], None]) -> DetectionDataset:
    """The dataset as training sees it: the images to train on with their tiles, if the options ask for any."""
    tiling = as_tiling(options.tiles, options.overlap)
    if tiling is None:
        return dataset
    views = with_tiles(dataset.train, tiling, empty=options.loss == "focal")
    count = len(views) - len(dataset.train)
    say(f"Cut into {tiling}: {count:,} tiles beside {counted(len(dataset.train))} to train on.")
    if not count and not any(len(tiling.windows(r.width, r.height)) > 1 for r in dataset.train):
        say(f"Warning: --tiles {tiling.side} cuts nothing: no image to train on is larger.")
    return replace(dataset, train=views)


def with_tiles(records: Sequence[Record], tiling: Tiling, empty: bool) -> list[Record]:
    """Images, each followed by its tiles.

    A box belongs to a tile in which at least ``LEAST_SHARE`` of its area lies, and is cut to it. Of the tiles without
    a box to train on, which are often nearly all, there are none or at most as many as of the others.

    Args:
        empty: Whether there are tiles without boxes at all.
    """
    views: list[Record] = []
    for record in records:
        windows = tiling.windows(record.width, record.height)[1:]
        tiles = [_tile(record, *window) for window in windows.tolist()]
        bare = [i for i, tile in enumerate(tiles) if tile.crowd.all()]
        drawn = np.random.default_rng((record.width, record.height, len(record.ids))).permutation(bare)
        left_out = set(drawn[len(tiles) - len(bare) if empty else 0 :].tolist())
        views += [record, *(tile for i, tile in enumerate(tiles) if i not in left_out)]
    return views


def _tile(record: Record, left: int, top: int, right: int, bottom: int) -> TileRecord:
    window = np.array([left, top, right, bottom], np.float32)
    low, high = np.maximum(record.boxes[:, :2], window[:2]), np.minimum(record.boxes[:, 2:], window[2:])
    sides = record.boxes[:, 2:] - record.boxes[:, :2]
    share = np.clip(high - low, 0, None).prod(axis=1) / sides.prod(axis=1)
    kept = share >= LEAST_SHARE
    values = {field.name: getattr(record, field.name) for field in fields(Record)}
    values |= {name: values[name][kept] for name in ("labels", "crowd", "ids")}
    boxes = np.concatenate([low, high], axis=1)[kept] - window[[0, 1, 0, 1]]
    values |= {"boxes": boxes.astype(np.float32), "area": (record.area * share)[kept]}
    return TileRecord(**{**values, "width": right - left, "height": bottom - top}, left=left, top=top)
