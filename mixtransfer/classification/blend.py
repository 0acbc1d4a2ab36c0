"""Mixtures of the fine-tuned weights and those before fine-tuning.

On few images fine-tuning can lose what the pretrained features knew; a straight line between the two networks
often holds a better one than either end (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022).
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from mixtransfer.classification.head import LinearHead
from mixtransfer.classification.model import model_bytes, read_state
from mixtransfer.common.files import write_atomic
from mixtransfer.errors import UserError

State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Start:
    """The network before fine-tuning.

    Attributes:
        judged: Its weights, with a head fitted on the images to train on, so that those to validate on can judge it.
        alone: The same with a head fitted on both, where heads of its strength, or trainings, are judged out of fold.
    """

    judged: State
    alone: State

    @staticmethod
    def save(path: Path, model: nn.Module, refitted: LinearHead) -> None:
        head = {"refitted_weight": refitted.weight, "refitted_bias": refitted.bias}
        write_atomic(path, model_bytes(model, **{name: torch.from_numpy(value) for name, value in head.items()}))

    @classmethod
    def load(cls, path: Path, model: nn.Module) -> "Start":
        """Read what ``save`` wrote; ``model`` tells the name of its head.

        Raises:
            UserError: It is damaged or of another network.
        """
        judged = read_state(path, model, "refitted_weight", "refitted_bias")
        classifier = model.get_classifier()  # type: ignore[operator]
        head = next(name for name, module in model.named_modules() if module is classifier)
        refitted = {f"{head}.{part}": judged.pop(f"refitted_{part}") for part in ("weight", "bias")}
        if any(value.shape != judged[name].shape for name, value in refitted.items()):
            raise UserError(f"{path} is damaged or of another network: train anew.")
        return cls(judged, {**judged, **refitted})


def mixture(start: State, tuned: State, share: float) -> State:
    """``share`` of the fine-tuned weights, the rest of the start's; counters are the fine-tuned ones."""
    return {
        name: torch.lerp(start[name], value, share) if value.is_floating_point() else value
        for name, value in tuned.items()
    }
