"""The class and box predictions of SSDLite."""

from collections.abc import Sequence

import torch
from torch import nn

from mixtransfer.detection.ssdlite.layers import conv_norm_relu6, reset_convolutions


class SSDLiteHead(nn.Module):
    """On each map a depthwise 3×3 and a 1×1 convolution for the classes, and another pair for the boxes.

    Args:
        in_channels: Of each map.
        anchors_per_cell: Number of anchors.
        num_logits: Class logits of an anchor.
        initial_bias: Of the class logits.
    """

    def __init__(
        self, in_channels: Sequence[int], anchors_per_cell: int, num_logits: int, initial_bias: float = 0.0
    ) -> None:
        super().__init__()
        self.num_logits = num_logits
        self.classes = nn.ModuleList(_predictor(width, anchors_per_cell * num_logits) for width in in_channels)
        self.boxes = nn.ModuleList(_predictor(width, anchors_per_cell * 4) for width in in_channels)
        reset_convolutions(self)
        for predictor in self.classes:
            nn.init.constant_(predictor[-1].bias, initial_bias)  # type: ignore[index]

    def forward(self, maps: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Class logits (n, anchors, num_logits) and box deltas (n, anchors, 4) of maps (n, c, h, w), finest first.

        Anchors come level by level, row by row, cell by cell.
        """
        logits = [_by_anchor(predict(x), self.num_logits) for predict, x in zip(self.classes, maps, strict=True)]
        deltas = [_by_anchor(predict(x), 4) for predict, x in zip(self.boxes, maps, strict=True)]
        return torch.cat(logits, 1), torch.cat(deltas, 1)


def _predictor(in_channels: int, out_channels: int) -> nn.Sequential:
    depthwise = conv_norm_relu6(in_channels, in_channels, 3, groups=in_channels)
    return nn.Sequential(depthwise, nn.Conv2d(in_channels, out_channels, 1))


def _by_anchor(x: torch.Tensor, width: int) -> torch.Tensor:
    """(n, anchors of a cell * width, h, w) → (n, anchors, width)."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, width)  # a length would fix the batch of an export
