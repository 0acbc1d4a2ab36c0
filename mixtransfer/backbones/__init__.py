"""What a network is: the registry of backbones, MixConv, their cost and their weights.

The names below load their modules when they are first used, so the registry can be read without importing torch.
"""

from importlib import import_module

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


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
