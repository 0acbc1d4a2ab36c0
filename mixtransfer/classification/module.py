"""The classifier that Lightning trains: loss, optimizer, and results gathered over processes."""

import math
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.distributed
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from timm.optim import param_groups_layer_decay
from torch import nn
from torchvision.transforms import v2

from mixtransfer.backbones.folding import fold_batch_norm
from mixtransfer.backbones.quicker import make_quicker
from mixtransfer.classification.metrics import Predictions
from mixtransfer.classification.options import TrainOptions
from mixtransfer.data.preprocessing import Normalize, Preprocessing
from mixtransfer.errors import UserError


class Classifier(L.LightningModule):
    """A network with its preprocessing; images go in as uint8 (n, 3, height, width), logits come out.

    Args:
        model: A timm classifier.
        preprocessing: What the network wants to see.
        options: Resolved options; only needed to train.
        class_weight: Weight of each class in the loss, shape (classes,); of mean 1 over the training images.
        total_steps: Optimizer steps of the whole training, for the schedule.
    """

    class_weight: torch.Tensor | None

    def __init__(
        self,
        model: Any,
        preprocessing: Preprocessing,
        options: TrainOptions | None = None,
        class_weight: torch.Tensor | None = None,
        total_steps: int = 1,
    ):
        super().__init__()
        if not torch.cuda.is_available():
            make_quicker(model)
        fold_batch_norm(model)
        self.model = model.to(memory_format=torch.channels_last)
        self.normalize = Normalize(preprocessing)
        self.options, self.total_steps = options, total_steps
        self.lr: Any = options.lr if options else None
        self.register_buffer("class_weight", class_weight, persistent=False)
        self.mix = mixing(options, model.num_classes) if options else None
        self._results: list[tuple[torch.Tensor, ...]] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(self.normalize(images))

    def train(self, mode: bool = True) -> "Classifier":
        super().train(mode)
        if mode and self.options and self.options.batch_norm == "frozen":
            for module in self.model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    @property
    def class_weights(self) -> np.ndarray | None:
        """``class_weight`` for what is no tensor, shape (classes,)."""
        return None if self.class_weight is None else self.class_weight.cpu().numpy()

    def setup(self, stage: str) -> None:
        if self.trainer.world_size > 1:
            # The head was fitted by the first process only.
            self.model.load_state_dict(self.trainer.strategy.broadcast(self.model.state_dict()))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.options and checkpoint["epoch"] >= (self.options.epochs or 0):
            raise UserError(
                f"The run has trained {checkpoint['epoch'] + 1} epochs already, more than the {self.options.epochs} "
                "that its config.yaml says: change that back."
            )

    def on_train_epoch_start(self) -> None:
        # What is drawn in an epoch must not depend on whether the training was interrupted before it.
        assert self.options
        torch.manual_seed(hash((self.options.seed, self.current_epoch, self.global_rank)) % 2**31)

    def loss(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The training loss of a batch, a scalar; mixes the images if the options ask for it."""
        inputs = self.normalize(images)
        if self.mix is not None:
            inputs, labels = self.mix(inputs, labels)
        assert self.options
        losses = F.cross_entropy(
            self.model(inputs), labels, label_smoothing=self.options.label_smoothing, reduction="none"
        )
        if self.class_weight is not None:
            losses = losses * _weights(labels, self.class_weight)
        return losses.mean()

    def training_step(self, batch: tuple[torch.Tensor, ...], batch_idx: int) -> torch.Tensor:
        images, labels = batch
        loss = self.loss(images, labels)
        self.log("loss", loss, prog_bar=True, logger=False)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(labels))
        return loss

    def on_validation_epoch_start(self) -> None:
        self._results.clear()  # nobody may have taken those of the last time

    on_test_epoch_start = on_validation_epoch_start

    def validation_step(self, batch: tuple[torch.Tensor, ...], batch_idx: int) -> None:
        images, labels, positions = batch
        self._results.append((self(images).float().cpu(), labels.cpu(), positions.cpu()))

    test_step = validation_step

    def take_predictions(self) -> Predictions:
        """The predictions of the evaluation that has just run, of all processes, in the order of the examples.

        Raises:
            UserError: They are not numbers: the training diverged.
        """
        none = torch.empty(0, dtype=torch.int64)
        nothing = torch.empty(0, int(self.model.num_classes)), none, none  # this process may have had no share
        logits, labels, positions = (
            torch.cat(parts).numpy() for parts in zip(*(self._results or [nothing]), strict=True)
        )
        self._results.clear()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            gathered: list[Any] = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(gathered, (logits, labels, positions))
            logits, labels, positions = (np.concatenate(parts) for parts in zip(*gathered, strict=True))
        if not np.isfinite(logits).all():
            raise UserError("The training diverged, the network's answers are no numbers any more: lower --lr.")
        order = np.argsort(positions)
        return Predictions.from_logits(logits[order], labels[order])

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        options = self.options
        assert options and options.epochs and options.layer_decay is not None
        undecayed = self.model.no_weight_decay() if hasattr(self.model, "no_weight_decay") else ()
        groups = param_groups_layer_decay(self.model, options.weight_decay, undecayed, layer_decay=options.layer_decay)
        for group in groups:
            group["lr"] = self.lr * group["lr_scale"]
        # On the CPU the default steps tensor by tensor; on GPUs it is already fast, and clips under any precision.
        fused: dict[str, Any] = {"fused": True} if self.device.type == "cpu" else {}
        if options.optimizer == "sgd":
            optimizer: torch.optim.Optimizer = torch.optim.SGD(groups, self.lr, momentum=0.9, nesterov=True, **fused)
        else:
            optimizer = torch.optim.AdamW(groups, self.lr, **fused)
        warmup = options.warmup_epochs * self.total_steps / options.epochs

        def share_of_peak(step: int) -> float:
            rise = min(1.0, (step + 1) / (warmup + 1))
            return rise * 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.total_steps)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share_of_peak)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _weights(labels: torch.Tensor, class_weight: torch.Tensor) -> torch.Tensor:
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


def mixing(options: TrainOptions, classes: int) -> nn.Module | None:
    """What mixes the images (n, 3, height, width) and labels of a batch as the options ask for, if they do."""
    ways = []
    if options.mixup:
        ways.append(v2.MixUp(alpha=options.mixup, num_classes=classes))
    if options.cutmix:
        ways.append(v2.CutMix(alpha=options.cutmix, num_classes=classes))
    return v2.RandomChoice(ways) if ways else None
