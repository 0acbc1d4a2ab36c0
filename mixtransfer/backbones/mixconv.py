"""MixConv: one depthwise convolution with several kernel sizes (Tan & Le, BMVC 2019, section 3)."""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from timm.layers import get_padding, pad_same
from timm.layers.conv2d_same import create_conv2d_pad
from torch import nn

PARTITIONS = ("equal", "exponential")


def split_channels(channels: int, groups: int, partition: str = "equal") -> list[int]:
    """How many channels each group gets; 32 channels in 4 groups are (8, 8, 8, 8) or (16, 8, 4, 4).

    Equal groups differ by the remainder, which the first group takes, as in the authors' code and in timm.
    Exponential groups halve from one to the next and the last repeats its neighbour's size (section 3.2); the paper
    does not say where a remainder goes, so it goes to the first group here too, where a channel costs least.

    Raises:
        ValueError: The partition is unknown, or a group would be left without a channel.

    Examples:
        >>> split_channels(32, 4)
        [8, 8, 8, 8]
        >>> split_channels(32, 4, "exponential")
        [16, 8, 4, 4]
    """
    if partition not in PARTITIONS:
        raise ValueError(f"The partition {partition!r} is not one of {', '.join(PARTITIONS)}.")
    if partition == "equal":
        split = [channels // groups] * groups
    else:
        split = [channels >> min(i, groups - 1) for i in range(1, groups + 1)]
    if min(split) < 1:
        raise ValueError(f"{channels} channels are too few for {groups} {partition} MixConv groups.")
    split[0] += channels - sum(split)
    return split


class MixConv2d(nn.ModuleList):
    """Depthwise convolution whose channel groups have kernels of different sizes: (n, c, h, w) → (n, c, h', w').

    The groups are ordinary depthwise convolutions named "0", "1", …, so the state dict is that of timm's
    ``MixedConv2d``. They can run in two ways with equal results up to rounding:

    - split: one convolution a group, then a concatenation;
    - ``merged``: every kernel is zero-padded to the largest one and all channels run in one convolution. The padding
      is part of the computation graph, so the gradients are those of the small kernels. It spends multiplications on
      zeros to save calls: some inference runtimes gain by it, but training on a CPU lost 0–30 % (MixNet-S, 64 and
      224 px, with AVX2 and with AVX-512), so split is the default. The attribute can be changed at any time.

    Args:
        channels: Number of input and of output channels.
        kernel_sizes: Odd sizes, one a group.
        stride: 1 or more.
        partition: "equal" or "exponential"; see ``split_channels``.
        dilated: Stand in for a K×K kernel by a 3×3 one with dilation (K−1)/2. Like the authors' code this is done at
            stride 1 only: with a larger stride the kernels stay K×K. Dilated groups always run split, because
            merging would turn 9 multiplications into K².
        padding: "" pads both sides alike; "same" is TensorFlow's, which pads the far side more where it must.
        bias: Whether each channel has a bias.
        merged: See above.

    Raises:
        ValueError: A kernel size is even, or there are fewer channels than groups.

    Examples:
        >>> layer = MixConv2d(32, [3, 5, 7], stride=2)
        >>> layer.splits
        [12, 10, 10]
        >>> layer(torch.zeros(1, 32, 56, 56)).shape
        torch.Size([1, 32, 28, 28])
    """

    if TYPE_CHECKING:  # what the nn.Sequential holds

        def __getitem__(self, index: int) -> nn.Conv2d: ...  # type: ignore[override]

        def __iter__(self) -> Iterator[nn.Conv2d]: ...

    def __init__(
        self,
        channels: int,
        kernel_sizes: Sequence[int],
        stride: int = 1,
        partition: str = "equal",
        dilated: bool = False,
        padding: str = "",
        bias: bool = False,
        merged: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        smallest = 3 if dilated else 1
        if not kernel_sizes or any(k % 2 == 0 or k < smallest for k in kernel_sizes):
            raise ValueError(f"MixConv kernel sizes must be odd and at least {smallest}, not {tuple(kernel_sizes)}.")
        spread = dilated and stride == 1
        splits = split_channels(channels, len(kernel_sizes), partition)
        super().__init__(
            create_conv2d_pad(
                size,
                size,
                3 if spread else k,
                stride=stride,
                dilation=(k - 1) // 2 if spread else 1,
                groups=size,
                padding=padding,
                bias=bias,
                device=device,
                dtype=dtype,
            )
            for size, k in zip(splits, kernel_sizes, strict=True)
        )
        self.in_channels = self.out_channels = channels
        self.kernel_sizes = tuple(kernel_sizes)
        self.splits = splits
        self.stride = stride
        self.dilated = spread
        self.padding = padding
        self.merged = merged
        for conv in self:
            reset_depthwise(conv)

    @property
    def mergeable(self) -> bool:
        """Whether one zero-padded kernel computes the same.

        Padding totals K − stride + const for every kernel K that is at least the stride, so the centres of all kernels
        fall on the same pixel and the zeros go around the small kernels evenly, whatever the input size. A smaller
        kernel needs no "same" padding at all, and its place would depend on the input size.
        """
        return not self.dilated and (self.padding != "same" or min(self.kernel_sizes) >= self.stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.merged and self.mergeable:
            return self._forward_merged(x)
        parts = torch.split(x, self.splits, dim=1)
        return torch.cat([conv(part) for conv, part in zip(self, parts, strict=True)], dim=1)

    def merged_kernels(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Every kernel zero-padded to the largest, (c, 1, k, k), and the bias (c,) if there is one."""
        size = max(self.kernel_sizes)
        weight = torch.cat([F.pad(conv.weight, [(size - conv.kernel_size[0]) // 2] * 4) for conv in self])
        biases = [conv.bias for conv in self if conv.bias is not None]
        return weight, torch.cat(biases) if biases else None

    def _forward_merged(self, x: torch.Tensor) -> torch.Tensor:
        size = max(self.kernel_sizes)
        weight, bias = self.merged_kernels()
        padding = get_padding(size, self.stride)
        if self.padding == "same" and self.stride > 1:
            x, padding = pad_same(x, [size, size], [self.stride, self.stride]), 0
        return F.conv2d(x, weight, bias, self.stride, padding, groups=self.in_channels)


def reset_depthwise(conv: nn.Conv2d) -> None:
    """Initialise as timm (and the authors) do for depthwise kernels: normal with variance 2/k², zero bias."""
    nn.init.normal_(conv.weight, 0.0, math.sqrt(2.0 / math.prod(conv.kernel_size)))
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
