"""The layers that give a classifier's answer, whatever their names and however many there are."""

from typing import Any

import torch
from torch import nn


def answer_layers(model: Any) -> list[nn.Module]:
    """The layers of a classifier's head that have an output for each class.

    Of a distilled network they are two, whose answers are averaged once it is trained (Touvron et al., "Training
    data-efficient image transformers", ICML 2021, section 4).
    """
    heads = model.get_classifier() if hasattr(model, "get_classifier") else ()
    layers = [layer for head in (heads if isinstance(heads, tuple | list) else [heads]) for layer in head.modules()]
    return [layer for layer in layers if _width(layer) == model.num_classes]


def _width(layer: nn.Module) -> int | None:
    if isinstance(layer, nn.Linear):
        return layer.out_features
    return layer.out_channels if isinstance(layer, nn.Conv2d) else None


@torch.no_grad()
def takes_linear_head(model: Any, image_size: int) -> bool:
    """Whether the network answers with a linear layer of the features that timm gives for it.

    Args:
        image_size: Side of its input in pixels.
    """
    head = model.get_classifier() if hasattr(model, "get_classifier") else None
    if not isinstance(head, nn.Linear) or head.bias is None:
        return False
    image, was_training = _image(model, image_size), model.training
    model.eval()
    try:
        features = model.forward_head(model.forward_features(image), pre_logits=True)
        answer, expected = model(image), head(features)
        return answer.shape == expected.shape and torch.allclose(answer, expected, rtol=1e-3, atol=1e-5)
    except Exception:  # a network's own code, which may fail in any way
        return False
    finally:
        model.train(was_training)


def divide_answer(model: Any, divisor: float, image_size: int) -> bool:
    """Divide a network's logits, by its last layers; False, and no change, where that is not what comes of it."""
    return correct_answer(model, torch.full((model.num_classes,), divisor), None, image_size)


@torch.no_grad()
def correct_answer(model: Any, divisor: torch.Tensor, shift: torch.Tensor | None, image_size: int) -> bool:
    """Divide a network's logits, and then add to them, by its last layers.

    Args:
        divisor, shift: Of each class, shape (classes,).

    Returns:
        Whether that is what came of it; otherwise nothing is changed.
    """
    image, was_training = _image(model, image_size), model.training
    before = model.eval()(image)
    kept = [(parameter, parameter.clone()) for layer in answer_layers(model) for parameter in layer.parameters()]
    divisor = divisor.to(before)
    shift = torch.zeros_like(divisor) if shift is None else shift.to(before)
    for parameter, _ in kept:
        parameter.div_(divisor.view(-1, *[1] * (parameter.ndim - 1)))
        if parameter.ndim == 1:
            parameter.add_(shift)
    after = model(image)
    model.train(was_training)
    if kept and torch.allclose((after - shift) * divisor, before, rtol=1e-2, atol=1e-4):
        return True
    for parameter, value in kept:
        parameter.copy_(value)
    return False


def _image(model: nn.Module, size: int) -> torch.Tensor:
    one = next(model.parameters())
    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0)).to(one)
