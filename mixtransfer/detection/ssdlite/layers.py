"""What the levels and heads of SSDLite are made of; widths and constants as in torchvision's."""

import torch
import torch.nn.functional as F
from torch import nn

NORM_EPS = 1e-3
NORM_MOMENTUM = 0.03


class BatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation that can train on a single value per channel.

    The coarsest map of SSDLite is 1×1. One image on a device then gives one value per channel, which has no variance,
    and PyTorch refuses it. Such a value is normalised by the running statistics, which it leaves as they are.
    """

    plain_in_evaluation = True  # for mixtransfer.backbones.folding

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and x.numel() == x.shape[1]:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


def conv_norm_relu6(
    in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution with "half" padding, batch normalisation, ReLU6."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=False),
        BatchNorm2d(out_channels, eps=NORM_EPS, momentum=NORM_MOMENTUM),
        nn.ReLU6(inplace=True),
    )


def reset_convolutions(module: nn.Module) -> None:
    """Draw the convolutions' weights from a normal distribution of deviation 0.03, with zero biases."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.03)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
