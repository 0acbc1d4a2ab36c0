"""Feature maps for SSDLite from any network of the registry."""

from threading import get_ident
from typing import Any

import timm
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from timm.models._efficientnet_blocks import InvertedResidual
from torch import nn

from mixtransfer.backbones import BackboneSpec, backbone_spec, create_backbone
from mixtransfer.detection.ssdlite.layers import NORM_MOMENTUM, conv_norm_relu6, reset_convolutions
from mixtransfer.errors import UserError

EXTRA_CHANNELS = (512, 256, 256, 128)
TAPS = ("expanded", "stage")


class SSDLiteBackbone(Backbone):
    """A network's maps at strides 16 and 32, and four coarser ones of depthwise-separable convolutions.

    Images (n, 3, h, w) become {"stride16": (n, c, h/16, w/16), "stride32": …, …, "stride512": …}, finest first, with
    sizes rounded up. The strides in the names are nominal: at 320 pixels the maps are 20, 10, 5, 3, 2 and 1 wide.

    Args:
        name: A network as ``create_backbone`` takes it.
        weights: Its weights: "imagenet", "none" or a file.
        tap: Where the map at stride 16 is taken. "expanded": behind the 1×1 expansion of the inverted residual that
            goes on to stride 32, as the MobileNetV2 and V3 papers and torchvision do. "stage": the output of the last
            stage at stride 16, narrower and cheaper. None: expanded where the network has it, else stage.
        image_size: Side of the input in pixels, for networks that are built for one size; see ``create_backbone``.
        norm_eps: Of the network's batch norms; by default its own.

    Attributes:
        pixel_mean, pixel_std: What the network's weights expect of RGB values between 0 and 255.

    Raises:
        UserError: The network has no such maps, or ``create_backbone`` cannot build or fill it.
    """

    def __init__(
        self,
        name: str | BackboneSpec,
        weights: str = "imagenet",
        tap: str | None = None,
        image_size: int | None = None,
        norm_eps: float | None = None,
    ) -> None:
        super().__init__()
        self.spec = spec = backbone_spec(name)
        self.weights, self.tap, self.norm_eps = weights, tap, norm_eps
        name = spec.name
        self.body = create_backbone(spec, weights=weights, features_only=True, image_size=image_size)
        self._indices = _maps_at(self.body, name, 16, 32)
        if tap not in (None, *TAPS):
            raise UserError(f"The tap {tap!r} of the backbone is not one of {', '.join(TAPS)}.")
        expansion = self._tapped_expansion()
        if tap == "expanded" and expansion is None:
            raise UserError(f"The backbone {name} expands nothing at stride 16: choose the tap stage.")
        self._expanded: dict[int, torch.Tensor] = {}  # by thread: several may be in the network at once
        of_maps = self.body.feature_info.channels()  # type: ignore[operator, union-attr]
        channels = [of_maps[i] for i in self._indices]
        if expansion is not None:
            channels[0] = expansion.num_features
        self.watch_expansion()
        for layer in self.body.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = NORM_MOMENTUM
                layer.eps = layer.eps if norm_eps is None else norm_eps
        widths = [channels[1], *EXTRA_CHANNELS]
        self.extra = nn.ModuleList(_extra_level(*pair) for pair in zip(widths, widths[1:], strict=False))
        reset_convolutions(self.extra)
        self._shapes = {
            f"stride{stride}": ShapeSpec(channels=width, stride=stride)
            for width, stride in zip([*channels, *EXTRA_CHANNELS], (16, 32, 64, 128, 256, 512), strict=True)
        }
        data = timm.data.resolve_model_data_config(self.body)
        self.pixel_mean = [255 * value for value in data["mean"]]
        self.pixel_std = [255 * value for value in data["std"]]

    def output_shape(self) -> dict[str, ShapeSpec]:
        return dict(self._shapes)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        maps = self.body(images)
        maps = [maps[i] for i in self._indices]
        maps[0] = self._expanded.pop(get_ident(), maps[0])
        for level in self.extra:
            maps.append(level(maps[-1]))
        return dict(zip(self._shapes, maps, strict=True))

    def freeze(self, level: int) -> bool:
        """Train no layers of the network up to its map at stride 2 to the power of ``level``; 0: train all.

        As detectron2's FREEZE_AT, which counts a ResNet's stem as 1 and the stage at stride 4 as 2.

        Returns:
            Whether there were such layers.
        """
        info: Any = self.body.feature_info
        kept = [each["module"] for each in info.get_dicts() if each["reduction"] <= 2**level]
        if not level or not kept:
            return False
        names = (kept[-1], kept[-1].replace(".", "_"))  # timm's wrappers flatten the names of what they wrap
        modules = list(self.body.named_modules())
        inside = [i for i, (name, _) in enumerate(modules) if any(f"{name}.".startswith(f"{it}.") for it in names)]
        for _, module in modules[1 : inside[-1] + 1]:
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)
        return True

    def _tapped_expansion(self) -> nn.Module | None:
        return None if self.tap == "stage" else _expansion(self.body)

    def watch_expansion(self) -> None:
        """Have the map behind the expansion be kept, if it is tapped; again after that module has been replaced."""
        expansion = self._tapped_expansion()
        if expansion is not None:
            # A bound method, so that a copy of this network keeps its own maps.
            expansion.register_forward_hook(self._keep_expanded)

    def _keep_expanded(self, layer: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        self._expanded[get_ident()] = output


def _maps_at(body: Any, name: str, *strides: int) -> list[int]:
    """The positions of the network's maps at these strides."""
    if getattr(body, "output_fmt", "NCHW") != "NCHW":
        raise UserError(f"The maps of the backbone {name} have their channels last: choose another.")
    found = body.feature_info.reduction()
    if missing := [stride for stride in strides if stride not in found]:
        has = ", ".join(map(str, found))
        raise UserError(f"The backbone {name} has no map at stride {missing[0]} (only {has}): choose another.")
    return [found.index(stride) for stride in strides]


def _expansion(body: Any) -> nn.Module | None:
    """The normalisation (and activation) behind the expansion that reads the last map at stride 16, if there is one."""
    info = next(level for level in body.feature_info.get_dicts() if level["reduction"] == 16)
    if "stage" not in info:
        return None
    # timm counts the stem as stage 0, so this is the block that follows the map.
    following = body.blocks[info["stage"]][0]
    return following.bn1 if isinstance(following, InvertedResidual) else None


def _extra_level(in_channels: int, out_channels: int) -> nn.Sequential:
    """Half the width and half the size by a depthwise-separable convolution."""
    middle = out_channels // 2
    return nn.Sequential(
        conv_norm_relu6(in_channels, middle),
        conv_norm_relu6(middle, middle, 3, stride=2, groups=middle),
        conv_norm_relu6(middle, out_channels),
    )
