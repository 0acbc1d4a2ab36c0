"""Fine-tune small, accurate image models on your own data, and compare them honestly with ResNet-50.

The names below load their modules when they are first used, so that ``import mixtransfer`` is instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mixtransfer import detect as detect
    from mixtransfer.api import compare as compare
    from mixtransfer.api import export as export
    from mixtransfer.api import train as train
    from mixtransfer.backbones.create import create_backbone as create_backbone
    from mixtransfer.backbones.registry import list_backbones as list_backbones
    from mixtransfer.classification.datamodule import ImageDataModule as ImageDataModule
    from mixtransfer.classification.module import ImageClassifier as ImageClassifier
    from mixtransfer.classification.options import TrainOptions as TrainOptions
    from mixtransfer.classification.recipe import Recipe as Recipe
    from mixtransfer.classification.saving import save_run as save_run
    from mixtransfer.classification.teacher import Teacher as Teacher
    from mixtransfer.data.load import load_dataset as load_dataset
    from mixtransfer.data.preprocessing import Preprocessing as Preprocessing
    from mixtransfer.errors import Interrupted as Interrupted
    from mixtransfer.errors import UserError as UserError
    from mixtransfer.hub import push as push
    from mixtransfer.prediction import load as load
    from mixtransfer.runs.run import Run as Run

__version__ = "0.1.0"

_HOMES = {
    "ImageClassifier": "classification.module",
    "ImageDataModule": "classification.datamodule",
    "Interrupted": "errors",
    "Preprocessing": "data.preprocessing",
    "Recipe": "classification.recipe",
    "Run": "runs.run",
    "Teacher": "classification.teacher",
    "TrainOptions": "classification.options",
    "UserError": "errors",
    "compare": "api",
    "create_backbone": "backbones.create",
    "export": "api",
    "list_backbones": "backbones.registry",
    "load": "prediction",
    "load_dataset": "data.load",
    "push": "hub",
    "save_run": "classification.saving",
    "train": "api",
}

__all__ = [*_HOMES, "detect"]


def __getattr__(name: str) -> Any:
    if name == "detect":
        return import_module("mixtransfer.detect")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
