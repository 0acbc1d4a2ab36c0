"""Saving a classifier's weights, and opening it from its Run; nothing pickled is read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from mixtransfer.backbones import create_backbone
from mixtransfer.backbones.skip_init import SkipInit
from mixtransfer.classification.known import KnownScore
from mixtransfer.data.preprocessing import Preprocessing
from mixtransfer.detection.thresholds import are_thresholds
from mixtransfer.errors import UserError
from mixtransfer.runs.model_card import CLASSIFIERS, ModelCard
from mixtransfer.runs.run import Run


@dataclass(frozen=True)
class TrainedClassifier:
    """A network ready for use, with what belongs to it.

    Attributes:
        known: Tells how known images look, where it is kept.
        multilabel: Whether an image may have several of the classes.
        thresholds: Then from which probability on it has each, float64 (classes,).
    """

    model: nn.Module
    preprocessing: Preprocessing
    classes: list[str]
    known: KnownScore | None = None
    multilabel: bool = False
    thresholds: np.ndarray | None = None


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
    multilabel = card.task == "multilabel"
    thresholds = label_thresholds(card, run.model) if multilabel else None
    return TrainedClassifier(model.eval(), preprocessing, card.classes, known, multilabel, thresholds)


def label_thresholds(card: ModelCard, path: Path) -> np.ndarray:
    """The thresholds of a classifier for several labels.

    Raises:
        UserError: It has none that can be: it was not trained to its end, or it is damaged.
    """
    thresholds: Any = card.details.get("thresholds")
    if not are_thresholds(thresholds, card.classes):
        raise UserError(
            f"{path} has no thresholds for its labels, which the images to validate on choose at a training's end: "
            f"finish it by classify train --resume {path.parent}."
        )
    return np.array([thresholds[name] for name in card.classes], dtype=np.float64)


def read_classifier_card(path: Path) -> tuple[ModelCard, Preprocessing]:
    """A classifier's ``model.json``, and the preprocessing in it.

    Raises:
        UserError: It is missing, damaged or not a classifier's.
    """
    card = ModelCard.read(path, *CLASSIFIERS)
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
