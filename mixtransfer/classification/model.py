"""Saving a classifier's weights, and opening it from its Run; nothing pickled is read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from mixtransfer.backbones import create_backbone
from mixtransfer.backbones.skip_init import SkipInit
from mixtransfer.classification.known import KnownScore
from mixtransfer.data.preprocessing import Preprocessing
from mixtransfer.errors import UserError
from mixtransfer.model_card import ModelCard
from mixtransfer.run import Run


@dataclass(frozen=True)
class TrainedClassifier:
    """A network ready for use, with what belongs to it; ``known`` tells how known images look, where it is kept."""

    model: nn.Module
    preprocessing: Preprocessing
    classes: list[str]
    known: KnownScore | None = None


def open_classifier(folder: Path | str) -> TrainedClassifier:
    """Load the classifier of a Run.

    Raises:
        UserError: The folder is no classification run, or its files are damaged.
    """
    run = Run.open(folder)
    card, preprocessing = read_classifier_card(run.model)
    with SkipInit():
        model = create_backbone(card.spec, weights="none", num_classes=len(card.classes), image_size=preprocessing.size)
    run.load_weights(model)
    head: Any = model  # timm's, with a linear layer where known images are told
    known = KnownScore.read(run.known, head.get_classifier()) if run.known.exists() else None
    return TrainedClassifier(model.eval(), preprocessing, card.classes, known)


def read_classifier_card(path: Path) -> tuple[ModelCard, Preprocessing]:
    """A classifier's ``model.json``, and the preprocessing in it.

    Raises:
        UserError: It is missing, damaged or not a classifier's.
    """
    card = ModelCard.read(path, "classification")
    try:
        return card, Preprocessing.from_dict(card.preprocessing)
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise UserError(f"{path} is not a model description: its preprocessing is not whole.") from error


def read_state(path: Path, model: nn.Module, *more: str) -> dict[str, torch.Tensor]:
    """What ``model_bytes`` wrote of a network like ``model``, with ``more`` tensors.

    Raises:
        UserError: It is missing, damaged, or of another network.
    """
    try:
        state = safetensors.torch.load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is missing or damaged: train anew.") from error
    own = {name: value.shape for name, value in model.state_dict().items()}
    if state.keys() != own.keys() | set(more) or any(state[name].shape != shape for name, shape in own.items()):
        raise UserError(f"{path} is damaged or of another network: train anew.")
    return state


def model_bytes(model: nn.Module, **more: torch.Tensor) -> bytes:
    """A network's state, and further tensors by name, as the contents of a safetensors file."""
    state = {**model.state_dict(), **more}
    return safetensors.torch.save({name: value.detach().cpu().contiguous() for name, value in state.items()})
