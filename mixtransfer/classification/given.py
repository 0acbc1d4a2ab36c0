"""What ``ImageClassifier`` is given: each thing that it cannot use is refused in a sentence."""

from collections.abc import Sequence
from typing import Any

import torch
from timm.layers import BatchNormAct2d
from torch import nn

from mixtransfer.common.ranges import as_whole
from mixtransfer.errors import UserError


def classes_of(model: Any) -> int:
    """The number of a network's classes.

    Raises:
        UserError: It does not say, or is no network.
    """
    if not isinstance(model, nn.Module):
        raise UserError(f"ImageClassifier takes a network, not {model!r}: mixtransfer.create_backbone(…) makes one.")
    if (classes := as_whole(getattr(model, "num_classes", None))) is None or classes < 1:
        raise UserError(
            f"The network, a {type(model).__name__}, does not say its number of classes: set its num_classes, or take "
            "one of mixtransfer.create_backbone or timm."
        )
    return classes


def check_kind(name: str, value: Any, kind: type, optional: bool = True) -> None:
    """Have an argument of another kind be a ``UserError``; None is for one that may be left out."""
    if not (optional and value is None) and not isinstance(value, kind):
        raise UserError(f"{name}= takes a mixtransfer.{kind.__name__}(…), not {value!r}.")


def check_teacher(teacher: Any, classes: int) -> None:
    """Have a teacher of another number of classes be a ``UserError``."""
    known = getattr(teacher, "classes", None)
    if known not in (None, classes):
        raise UserError(
            f"The teacher has {known} classes, the network {classes}: give Teacher(…) the order of its own."
        )


def weights_of(class_weight: Sequence[float] | torch.Tensor | None, classes: int) -> torch.Tensor | None:
    """Weights of classes as float32, shape (classes,).

    Raises:
        UserError: They are something else.
    """
    if class_weight is None:
        return None
    try:
        weight = torch.as_tensor(class_weight, dtype=torch.float32)
    except (TypeError, ValueError):
        weight = torch.empty(0)
    if weight.shape != (classes,) or not (weight.isfinite() & (weight >= 0)).all():
        raise UserError(f"class_weight is {class_weight!r}; it has a number ≥ 0 for each of {classes} classes.")
    return weight


def check_class_weight(class_weight: Any, recipe: Any) -> None:
    """Have weights of classes be a ``UserError`` where an image may have several of them."""
    if class_weight is not None and recipe is not None and recipe.multilabel:
        raise UserError(f"class_weight= is for one class an image, which Recipe(loss={recipe.loss!r}) is not for.")


def check_same_classes(names: Sequence[str], classes: int) -> None:
    """Have data of another number of classes than the network's be a ``UserError``."""
    if len(names) != classes:
        raise UserError(
            f"The network tells {classes} classes apart, the data has {len(names)}: "
            f"take create_backbone(…, num_classes={len(names)})."
        )


def check_same_kind(data: Any, recipe: Any) -> None:
    """Have data whose images may have several labels, with a recipe for one class each or the other way round, be a
    ``UserError``."""
    several = getattr(getattr(data, "dataset", None), "is_multilabel", recipe.multilabel)
    if several and not recipe.multilabel:
        raise UserError("An image of the data may have several labels: take Recipe(loss='bce'), or another for them.")
    if recipe.multilabel and not several:
        raise UserError(f"The images of the data have one class each, which Recipe(loss={recipe.loss!r}) is not for.")


def check_pixels(images: torch.Tensor) -> None:
    """Have images that are not uint8 be a ``UserError``: 0…1, 0…255 and normalised ones look alike."""
    if images.dtype != torch.uint8:
        raise UserError(
            f"ImageClassifier normalises itself: give it uint8 images of values 0…255, not {images.dtype}, such as "
            "(255 * images).round().byte() of images in 0…1."
        )


def norms_with_activation(model: nn.Module) -> int:
    """How many norms of a network hold its activations, as many of timm's do."""
    return sum(isinstance(module, BatchNormAct2d) for module in model.modules())
