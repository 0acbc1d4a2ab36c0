"""Networks with cheaper activations: swish costs more than the depthwise convolutions' own arithmetic on many machines.

``hswish`` takes hard-swish (Howard et al., MobileNetV3, ICCV 2019), which needs no exponential and is friendlier to
int8; ``lite`` takes ReLU and leaves squeeze-excite out, as EfficientNet-Lite does. The weights of the original fit, and
what the change costs in accuracy is won back by fine-tuning with the original as the teacher.
"""

from collections.abc import Mapping
from typing import Any

import torch
from timm.models._efficientnet_blocks import DepthwiseSeparableConv, InvertedResidual
from torch import nn

_REPLACED = {"hswish": (nn.SiLU,), "lite": (nn.SiLU, nn.Hardswish)}


def lighten(model: nn.Module, kind: str) -> nn.Module:
    """Give a network hard-swish ("hswish"), or ReLU and no squeeze-excite ("lite"), in place, and return it.

    Raises:
        ValueError: There is nothing to change.
    """
    changed = 0
    for name, layer in list(model.named_modules()):
        if isinstance(layer, _REPLACED[kind]):
            model.set_submodule(name, nn.Hardswish(inplace=True) if kind == "hswish" else nn.ReLU(inplace=True))
            changed += 1
    blocks: list[Any] = [
        block for block in model.modules() if isinstance(block, DepthwiseSeparableConv | InvertedResidual)
    ]
    for block in blocks if kind == "lite" else ():
        changed += not isinstance(block.se, nn.Identity)
        block.se = nn.Identity()
    if not changed:
        raise ValueError("it has neither swish nor squeeze-excite.")
    return model


def without_squeeze(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of a state dict that a network without squeeze-excite has."""
    return {name: tensor for name, tensor in state.items() if ".se." not in name}
