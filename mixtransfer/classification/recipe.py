"""How a classifier is trained: what ``ImageClassifier`` needs to know of it, under whatever Trainer."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from lightning.pytorch.callbacks import Callback
from timm.optim import param_groups_layer_decay
from torch import nn
from torchvision.transforms import v2

from mixtransfer.classification.averaging import WeightAverage
from mixtransfer.classification.options import TrainOptions
from mixtransfer.common.ranges import whole
from mixtransfer.errors import ValueRefused

LABEL_LOSSES = ("bce", "focal", "asymmetric")  # of images that may have several labels
_AT_LEAST_0 = ("weight_decay", "warmup_epochs", "mixup", "cutmix", "clip_grad")


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained; the defaults are those of fine-tuning on some hundred to 5,000 images.

    The number of epochs is the Trainer's, that of images a step the data module's.

    Attributes:
        lr: Peak learning rate of the head.
        optimizer: "adamw", or "sgd" with Nesterov's momentum of 0.9.
        loss: "cross_entropy" of images with one class each; where an image may have several labels, "bce" (binary
            cross-entropy), "focal", or "asymmetric", which counts the many labels that an image does not have less.
        weight_decay: Of all weights but biases and normalizations; decoupled for adamw.
        layer_decay: A layer's rate as a share of the next one's.
        warmup_epochs: Epochs of linear warm-up, at most half of all, before the cosine decay to 0.
        batch_norm: "frozen" keeps batch norm's statistics, "train" updates them.
        label_smoothing: Probability spread over all classes in the targets.
        teacher_weight: Share of the loss that compares with the teacher's answers, where there is a teacher.
        mixup, cutmix: Strength (alpha) of each; 0 is off.
        ema: Whether an exponential moving average of the weights is validated and kept.
        clip_grad: Largest norm of the gradient, unless the Trainer has one of its own; 0 is none.
        seed: Of what is drawn in the training steps.

    Raises:
        UserError: A value is none that is possible; it is a ``ValueError`` too.
    """

    lr: float = 2e-3
    optimizer: Literal["adamw", "sgd"] = "adamw"
    loss: Literal["cross_entropy", "bce", "focal", "asymmetric"] = "cross_entropy"
    weight_decay: float = 0.05
    layer_decay: float = 0.8
    warmup_epochs: float = 1.0
    batch_norm: Literal["frozen", "train"] = "frozen"
    label_smoothing: float = 0.1
    teacher_weight: float = 0.5
    mixup: float = 0.0
    cutmix: float = 0.0
    ema: bool = True
    clip_grad: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        losses = "cross_entropy", *LABEL_LOSSES
        for name, known in (
            ("optimizer", ("adamw", "sgd")),
            ("loss", losses),
            ("batch_norm", ("frozen", "train")),
        ):
            if getattr(self, name) not in known:
                raise ValueRefused(f"{name} {getattr(self, name)!r} is not one of {', '.join(known)}.")
        for name in ("lr", "layer_decay", *_AT_LEAST_0, "label_smoothing", "teacher_weight"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueRefused(f"{name} is {value!r}; it must be a number.")
        if not self.lr > 0 or not 0 < self.layer_decay <= 1:
            raise ValueRefused("lr must be more than 0, and layer_decay above 0 and at most 1.")
        for name in _AT_LEAST_0:
            if getattr(self, name) < 0:
                raise ValueRefused(f"{name} is {getattr(self, name)}; it must be at least 0.")
        object.__setattr__(self, "seed", whole("seed", self.seed))
        if type(self.ema) is not bool:
            raise ValueRefused(f"ema is {self.ema!r}; it must be a bool.")
        if not 0 <= self.label_smoothing < 1:
            raise ValueRefused(f"label_smoothing is {self.label_smoothing}; it must be at least 0 and less than 1.")
        if not 0 <= self.teacher_weight <= 1:
            raise ValueRefused(f"teacher_weight is {self.teacher_weight}; it must lie between 0 and 1.")

    @property
    def multilabel(self) -> bool:
        """Whether it is for images that may have several labels."""
        return self.loss in LABEL_LOSSES

    @classmethod
    def of(cls, options: TrainOptions) -> "Recipe":
        """What resolved options say; where their rate is still to be found, with the default one."""
        open_ones = {name: value for name in cls.__dataclass_fields__ if (value := getattr(options, name)) is not None}
        if not isinstance(options.lr, int | float):
            open_ones.pop("lr", None)
        if options.loss == "auto":  # before there is data
            open_ones.pop("loss")
        return cls(**open_ones)

    def callbacks(self) -> list[Callback]:
        """What a Trainer needs for it, in any order among others."""
        return [WeightAverage()] if self.ema else []

    def optimizer_for(self, model: nn.Module, fused: bool = True) -> torch.optim.Optimizer:
        """The optimizer of a timm network, each layer at its rate; a group's ``lr_scale`` is its share of the head's.

        The network is where it will be trained.

        Args:
            fused: Whether a step on the CPU may be one call for all tensors, which unscales gradients itself.
        """
        undecayed = model.no_weight_decay() if hasattr(model, "no_weight_decay") else ()  # type: ignore[operator]
        groups = param_groups_layer_decay(model, self.weight_decay, undecayed, layer_decay=self.layer_decay)
        for group in groups:
            group["lr"] = self.lr * group["lr_scale"]
        # On the CPU the default steps tensor by tensor; on GPUs it is already fast, and clips under any precision.
        on_cpu = next(model.parameters()).device.type == "cpu"
        how: dict[str, Any] = {"fused": True} if on_cpu and fused else {}
        if self.optimizer == "sgd":
            return torch.optim.SGD(groups, self.lr, momentum=0.9, nesterov=True, **how)
        return torch.optim.AdamW(groups, self.lr, **how)

    def mixing(self, classes: int) -> nn.Module | None:
        """What mixes images (n, 3, height, width) and labels of a batch, if anything does."""
        ways = []
        if self.mixup:
            ways.append(v2.MixUp(alpha=self.mixup, num_classes=classes))
        if self.cutmix:
            ways.append(v2.CutMix(alpha=self.cutmix, num_classes=classes))
        return v2.RandomChoice(ways) if ways else None
