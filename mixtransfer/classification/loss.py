"""The loss that a classifier is trained by, and the metrics of its steps."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy, MultilabelAveragePrecision
from torchmetrics.utilities import dim_zero_cat
from torchvision.ops import sigmoid_focal_loss

from mixtransfer.classification.multilabel import MultilabelPredictions, mean_average_precision
from mixtransfer.classification.recipe import Recipe

FOCUS = 2.0  # the focal loss's exponent (Lin et al., "Focal loss for dense object detection", ICCV 2017)
# Of the asymmetric loss the exponent for labels that an image does not have, and the probability below which these
# count for nothing (Ridnik et al., "Asymmetric loss for multi-label classification", ICCV 2021).
FOCUS_ON_ABSENT, MARGIN = 4.0, 0.05
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
        labels: Classes, shape (n,), or the share of each class, or several labels, shape (n, classes).
        class_weight: See ``ImageClassifier``.
        taught: A teacher's logits, shape (n, classes).
    """
    if recipe.multilabel:
        losses = label_losses(logits, labels, recipe)
    else:
        losses = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing, reduction="none")
    if taught is not None:
        distill = label_distillation_losses if recipe.multilabel else distillation_losses
        losses = torch.lerp(losses, distill(logits, taught).to(losses), recipe.teacher_weight)
    return losses if class_weight is None else losses * weights_of_images(labels, class_weight)


def label_losses(logits: torch.Tensor, labels: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """The loss of images that may have several labels, mean over these, shape (n,).

    Args:
        logits: Shape (n, classes).
        labels: 0 and 1, or the shares of mixed images, shape (n, classes).
    """
    # As of one class an image, but that a single label has two answers.
    spread = recipe.label_smoothing / max(2, logits.shape[1])
    targets = labels.to(logits) * (1 - recipe.label_smoothing) + spread
    if recipe.loss == "focal":
        return sigmoid_focal_loss(logits, targets, alpha=-1, gamma=FOCUS).mean(1)
    if recipe.loss == "asymmetric":
        absent = logits.sigmoid().sub(MARGIN).clamp(min=0)
        missed = (1 - targets) * absent**FOCUS_ON_ABSENT * torch.log1p(-absent)
        return -(targets * F.logsigmoid(logits) + missed).mean(1)
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(1)


def evaluation_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean log loss of images, of several labels the mean over these too, a scalar."""
    if labels.ndim == 2:
        return F.binary_cross_entropy_with_logits(logits, labels.to(logits))
    return F.cross_entropy(logits, labels)


def label_distillation_losses(logits: torch.Tensor, taught: torch.Tensor) -> torch.Tensor:
    """``distillation_losses`` of each label by itself, mean over these, shape (n,)."""
    own, expected = logits.float() / TEMPERATURE, taught.float() / TEMPERATURE
    target = expected.sigmoid()
    least = F.binary_cross_entropy_with_logits(expected, target, reduction="none")
    crossed = F.binary_cross_entropy_with_logits(own, target, reduction="none")
    return TEMPERATURE**2 * (crossed - least).mean(1)


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


class MeanAveragePrecision(MultilabelAveragePrecision):
    """torchmetrics' gathering, with the mean over the labels that an image has: see ``mean_average_precision``."""

    def compute(self) -> torch.Tensor:  # type: ignore[override]
        probabilities, labels = (dim_zero_cat(values).cpu().numpy() for values in (self.preds, self.target))
        return torch.tensor(mean_average_precision(MultilabelPredictions(probabilities, labels)))


def of_an_epoch(classes: int, multilabel: bool = False, evaluates: bool = True) -> nn.ModuleDict:
    """Empty metrics, which look at no value while they gather: that would wait for a GPU.

    Of several labels mixed images have no ranking, so that an epoch of training has none.
    """
    metrics: dict[str, nn.Module] = {"loss": MeanMetric(nan_strategy="disable")}
    if not multilabel:
        metrics["top1"] = MulticlassAccuracy(classes, average="micro", validate_args=False)
    elif evaluates:
        metrics["mAP"] = MeanAveragePrecision(classes, average="macro", validate_args=False)
    return nn.ModuleDict(metrics)


def of_all_parts(classes: int, multilabel: bool) -> nn.ModuleDict:
    """``of_an_epoch`` under "train_metrics", "val_metrics" and "test_metrics"."""
    parts = ("train", "val", "test")
    return nn.ModuleDict({f"{part}_metrics": of_an_epoch(classes, multilabel, part != "train") for part in parts})


def note(metrics: Any, loss: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> None:
    """Add a batch to the metrics of a part: its mean loss, logits (n, classes), and labels."""
    metrics["loss"].update(loss, len(labels))
    if "top1" in metrics:
        metrics["top1"].update(logits, labels)
    elif "mAP" in metrics:
        metrics["mAP"].update(logits.sigmoid(), labels.long())
