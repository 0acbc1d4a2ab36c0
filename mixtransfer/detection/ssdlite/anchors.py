"""The default boxes of SSD (Liu et al., ECCV 2016, section 2.2)."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from mixtransfer.detection.spec import DetectorSpec


class SSDAnchorGenerator(nn.Module):
    """Anchors around the centres of each map's cells.

    A map of h×w cells divides the image evenly, whatever its nominal stride: detectron2's ``DefaultAnchorGenerator``
    steps by the stride, which at 64 and above puts centres outside the image. Scales go evenly from ``min_ratio`` of
    the image at the finest level, or from ``second_ratio`` at the next, to ``max_ratio`` at the coarsest. Each cell has
    a square of its level's scale, one of the geometric mean of this scale and the next, and for each aspect ratio a
    wide and a tall box. No side is longer than the image's. Order and values are those of torchvision's
    ``DefaultBoxGenerator``.

    Args:
        aspect_ratios: Beside 1; the same on every level.
        min_ratio, max_ratio: Scales relative to the image; the scale after the last is 1.
        levels: Number of maps.
        second_ratio: Scale of the second finest level; None: as far from the first as from the third.
    """

    def __init__(
        self,
        aspect_ratios: Sequence[float] = (2, 3),
        min_ratio: float = 0.2,
        max_ratio: float = 0.95,
        levels: int = 6,
        second_ratio: float | None = None,
    ) -> None:
        super().__init__()
        self.scales = (min_ratio, max_ratio) if second_ratio is None else (min_ratio, second_ratio, max_ratio)
        self.aspect_ratios = tuple(aspect_ratios)
        self._last: tuple[Any, torch.Tensor] | None = None
        *finer, start = self.scales[:-1]
        even = levels - len(finer)
        step = (max_ratio - start) / (even - 1)
        scales = [*finer, *(start + step * level for level in range(even)), 1.0]
        self.sizes = [_sizes(scale, after, aspect_ratios) for scale, after in zip(scales, scales[1:], strict=False)]

    @property
    def anchors_per_cell(self) -> int:
        return len(self.sizes[0])

    def forward(
        self, map_sizes: Sequence[tuple[int, int]], image_size: tuple[int, int], device: torch.device | str = "cpu"
    ) -> torch.Tensor:
        """All anchors of an image: (n, 4) as x1, y1, x2, y2 in pixels, level by level, row by row, cell by cell.

        Those of the last call are kept: a training asks for the same ones at each step.

        Args:
            map_sizes: Height and width of each map.
            image_size: Height and width of the (padded) image that the maps were computed from.
            device: Where the anchors are wanted.
        """
        key = tuple(map(tuple, map_sizes)), tuple(image_size), torch.device(device)
        last = self._last  # read once: another thread may ask for others meanwhile
        if last is None or last[0] != key:
            with torch.inference_mode(False):  # whoever asks next may train
                self._last = last = key, self._anchors(map_sizes, image_size).to(device)
        return last[1]

    def _anchors(self, map_sizes: Sequence[tuple[int, int]], image_size: tuple[int, int]) -> torch.Tensor:
        centres, sizes = [], []
        for (height, width), kinds in zip(map_sizes, self.sizes, strict=True):
            y, x = torch.meshgrid(
                (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij"
            )
            centres.append(torch.stack((x, y), -1).reshape(-1, 1, 2).expand(-1, len(kinds), -1).reshape(-1, 2))
            sizes.append(torch.tensor(kinds).clamp(max=1).repeat(height * width, 1))
        centre, half = torch.cat(centres), 0.5 * torch.cat(sizes)
        image = torch.tensor([image_size[1], image_size[0]])
        return torch.cat(((centre - half) * image, (centre + half) * image), 1)


def make_anchors(spec: DetectorSpec) -> SSDAnchorGenerator:
    """The anchors of a detector."""
    finest, *second, coarsest = spec.anchors
    return SSDAnchorGenerator(spec.aspect_ratios, finest, coarsest, second_ratio=second[0] if second else None)


def _sizes(scale: float, after: float, aspect_ratios: Sequence[float]) -> list[tuple[float, float]]:
    """Widths and heights of the anchors of a cell, relative to the image."""
    between = math.sqrt(scale * after)
    sizes = [(scale, scale), (between, between)]
    for ratio in aspect_ratios:
        long, short = scale * math.sqrt(ratio), scale / math.sqrt(ratio)
        sizes += [(long, short), (short, long)]
    return sizes
