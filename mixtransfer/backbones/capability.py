"""What a network can take, asked of it without memory: before weights are fetched or anything is trained."""

import timm
import torch

from mixtransfer.backbones.create import create_backbone
from mixtransfer.backbones.registry import BackboneSpec
from mixtransfer.errors import UserError

CLASSES = 3  # of the network that is tried, which does not matter
NAMED = 3  # sizes in an error
STEPS = (32, 14)  # into which networks divide an image


def check_classifier(spec: BackboneSpec, image_size: int | None = None) -> None:
    """See to it that a backbone can be trained as a classifier.

    Args:
        image_size: Side of its input in pixels; None is that of its weights.

    Raises:
        UserError: It cannot; where another size would do, the message has some.
    """
    size = image_size or native_size(spec)
    why = refusal(spec, size)
    if why is None:
        return
    if sizes := [str(other) for other in _near(spec, size) if refusal(spec, other) is None][:NAMED]:
        listed = " or ".join([", ".join(sizes[:-1]), sizes[-1]] if len(sizes) > 1 else sizes)
        raise UserError(f"The backbone {spec.name} cannot take images of {size} pixels: choose --image-size {listed}.")
    raise UserError(f"The backbone {spec.name} cannot be trained as a classifier ({why}): choose another.")


def refusal(spec: BackboneSpec, image_size: int) -> str | None:
    """Why a backbone is no classifier of images of this size; None if it is one.

    Raises:
        UserError: There is no such backbone.
    """
    try:
        with torch.device("meta"), torch.no_grad():
            model = create_backbone(spec, "none", CLASSES, image_size=image_size)
            images = torch.empty(2, 3, image_size, image_size)
            for training in (True, False):
                logits = model.train(training)(images)
                if not isinstance(logits, torch.Tensor) or logits.shape != (2, CLASSES):
                    return "it does not answer with a number for each class"
    except UserError:
        raise
    except Exception as error:  # a network's own code, which may fail in any way
        return (str(error).strip().splitlines() or [type(error).__name__])[0][:150]
    return None


def native_size(spec: BackboneSpec) -> int:
    """Side in pixels of the images that the backbone's weights were trained with."""
    if spec.architecture:
        return spec.architecture.image_size
    config = timm.get_pretrained_cfg(spec.tagged_name)
    return config.input_size[-1] if config else 224


def _near(spec: BackboneSpec, size: int) -> list[int]:
    """Sizes to try instead, the most likely first."""
    around = {step * (size // step + i) for step in STEPS for i in (-1, 0, 1, 2)} - {size}
    return list(dict.fromkeys([native_size(spec), *sorted(around, key=lambda side: abs(side - size))]))
