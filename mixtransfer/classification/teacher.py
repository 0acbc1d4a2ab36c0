"""A trained network that another one learns from: distillation."""

import torch
from torch import nn
from torch.nn import functional as F

from mixtransfer.backbones.fuse import for_inference
from mixtransfer.data.preprocessing import Preprocessing


class Teacher:
    """A frozen classifier, which sees the very views that its student is trained on, mixed ones too.

    That both see the same is what makes it work (Beyer et al., "Knowledge distillation: a good teacher is patient and
    consistent", CVPR 2022).

    Args:
        model: A classifier; what is kept is a copy for inference.
        preprocessing: Of its input.
        order: Where each class of the student is among its own; None where they are the same.
    """

    def __init__(self, model: nn.Module, preprocessing: Preprocessing, order: list[int] | None = None):
        self.model, self.preprocessing, self.order = for_inference(model, "cpu"), preprocessing, order
        self.classes: int | None = len(order) if order else getattr(model, "num_classes", None)
        self._device = torch.device("cpu")

    def __deepcopy__(self, memo: dict) -> "Teacher":
        return self  # an average of the student's weights has the same teacher

    @torch.no_grad()
    def logits(self, inputs: torch.Tensor, student: Preprocessing) -> torch.Tensor:
        """Its answers, shape (n, classes), in the student's order.

        Args:
            inputs: What the student sees, (n, 3, height, width), normalised as ``student`` says.
        """
        if self._device != inputs.device:
            self.model, self._device = self.model.to(inputs.device), inputs.device
        inputs, own = inputs.float(), self.preprocessing
        if (own.mean, own.std) != (student.mean, student.std):
            before, after = (_statistics(one, inputs) for one in (student, own))
            inputs = (inputs * before[1] + before[0] - after[0]) / after[1]
        if own.size != student.size:
            inputs = F.interpolate(inputs, (own.size, own.size), mode="bilinear", antialias=own.size < student.size)
        logits = self.model(inputs).float()
        return logits if self.order is None else logits[:, self.order]


def _statistics(preprocessing: Preprocessing, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of the channels, for images (n, 3, height, width)."""
    mean, std = (like.new_tensor(values).view(1, 3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    return mean, std
