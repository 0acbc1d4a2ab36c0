"""The loss that a classifier is trained by, and the metrics of its steps."""

import torch
from torch import nn
from torch.nn import functional as F
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from mixtransfer.classification.recipe import Recipe

TEMPERATURE = 2.0  # of answers that are compared with a teacher's: above 1 the lesser classes count for more


def training_losses(
    logits: torch.Tensor,
    labels: torch.Tensor,
    recipe: Recipe,
    class_weight: torch.Tensor | None = None,
    taught: torch.Tensor | None = None,
) -> torch.Tensor:
    """The loss of each image, shape (n,).

    Args:
        logits: Shape (n, classes).
        labels: Classes, shape (n,), or the share of each class, shape (n, classes).
        class_weight: See ``ImageClassifier``.
        taught: A teacher's logits, shape (n, classes).
    """
    losses = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing, reduction="none")
    if taught is not None:
        losses = torch.lerp(losses, distillation_losses(logits, taught).to(losses), recipe.teacher_weight)
    return losses if class_weight is None else losses * weights_of_images(labels, class_weight)


def distillation_losses(logits: torch.Tensor, taught: torch.Tensor) -> torch.Tensor:
    """How far answers (n, classes) are from a teacher's, shape (n,): Hinton et al., "Distilling the knowledge", 2015.

    The Kullback–Leibler divergence of both at ``TEMPERATURE``, times its square, so that gradients keep their size.
    """
    own, expected = (F.log_softmax(one.float() / TEMPERATURE, dim=1) for one in (logits, taught))
    return TEMPERATURE**2 * F.kl_div(own, expected, reduction="none", log_target=True).sum(1)


def weights_of_images(labels: torch.Tensor, class_weight: torch.Tensor) -> torch.Tensor:
    """The weight of each image, shape (n,), by its class, or by the shares of the classes in it.

    Not torch's ``weight``: that weighs each class's part of the smoothed target, and so teaches frequent classes to be
    wrong (pytorch#104776). Nor is the loss divided by the weights of the batch, as torch's is: a rare image would count
    less the smaller the batch (of 400 images and 12, told apart by nothing, the 12 would get 38 % instead of 50 % in
    batches of 32, 21 % in batches of 8).

    Args:
        labels: Classes, shape (n,), or the share of each class, shape (n, classes).
        class_weight: Shape (classes,).
    """
    return class_weight[labels] if labels.ndim == 1 else (labels * class_weight).sum(dim=1)


def of_an_epoch(classes: int) -> nn.ModuleDict:
    """Empty metrics, which look at no value while they gather: that would wait for a GPU."""
    top1 = MulticlassAccuracy(classes, average="micro", validate_args=False)
    return nn.ModuleDict({"loss": MeanMetric(nan_strategy="disable"), "top1": top1})
