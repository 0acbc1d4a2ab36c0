"""What a network is: the registry of backbones, MixConv, their cost and their weights.

The names below load their modules when they are first used, so the registry can be read without importing torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mixtransfer.backbones.cost import count_macs as count_macs
    from mixtransfer.backbones.cost import count_parameters as count_parameters
    from mixtransfer.backbones.create import create_backbone as create_backbone
    from mixtransfer.backbones.mixconv import MixConv2d as MixConv2d
    from mixtransfer.backbones.registry import BackboneSpec as BackboneSpec
    from mixtransfer.backbones.registry import backbone_spec as backbone_spec
    from mixtransfer.backbones.registry import list_backbones as list_backbones
    from mixtransfer.backbones.replace import replace_depthwise as replace_depthwise
    from mixtransfer.backbones.replace import use_mixconv as use_mixconv

_HOMES = {
    "Architecture": "architecture",
    "BackboneSpec": "registry",
    "MixConv2d": "mixconv",
    "architecture_spec": "registry",
    "backbone_spec": "registry",
    "count_macs": "cost",
    "count_parameters": "cost",
    "create_backbone": "create",
    "list_backbones": "registry",
    "replace_depthwise": "replace",
    "use_mixconv": "replace",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
