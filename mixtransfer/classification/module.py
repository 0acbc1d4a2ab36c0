"""The classifier that Lightning trains: loss, metrics, optimizer, and results gathered over processes."""

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.distributed
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import nn

from mixtransfer.backbones.folding import fold_batch_norm
from mixtransfer.backbones.quicker import make_quicker
from mixtransfer.classification import given
from mixtransfer.classification.bar import LossBar
from mixtransfer.classification.kinds import AnyPredictions, predictions_from_logits
from mixtransfer.classification.loss import evaluation_loss, note, of_all_parts, training_losses
from mixtransfer.classification.recipe import Recipe
from mixtransfer.classification.teacher import Teacher
from mixtransfer.common.device import best_device
from mixtransfer.data.preprocessing import Normalize, Preprocessing
from mixtransfer.errors import UserError
from mixtransfer.runs.schedule import cosine


class ImageClassifier(L.LightningModule):
    """A network with its preprocessing and the recipe by which it is trained, for any ``lightning.Trainer``.

    Images go in as uint8 (n, 3, height, width) of the network's size, logits (n, classes) come out. A training batch is
    (images, labels), with labels of shape (n,); one for evaluation may hold the images' positions in the data set too,
    shape (n,), which ``take_predictions`` goes by.

    It logs ``train_loss``, ``train_top1``, ``val_loss``, ``val_top1``, ``test_loss`` and ``test_top1``, means over an
    epoch's images and all processes; by a recipe for several labels, which are of shape (n, classes), ``val_mAP`` and
    ``test_mAP`` in the place of ``top1``. The rate follows the Trainer's number of steps, the gradient is clipped as
    the recipe says; its moving average of the weights is a callback (``Recipe.callbacks``).

    Args:
        model: A timm classifier, or another network with the attribute ``num_classes``; it is made quicker to train,
            its answers stay the same.
        preprocessing: What the network wants to see; by default what its own configuration says.
        recipe: How it is trained.
        class_weight: Weight of each class in the loss, shape (classes,); of mean 1 over the training images.
        teacher: A trained network to learn from too; it is not kept in checkpoints.

    Raises:
        UserError: An argument is of another kind, or a class has no weight.

    Attributes:
        num_classes: Of the network.
        classes: Their names, from the data module that it is trained with, or from a checkpoint.
        unlogged: Which of "train", "val" and "test" are not for loggers.
    """

    class_weight: torch.Tensor | None
    model: Any

    def __init__(
        self,
        model: nn.Module,
        preprocessing: Preprocessing | None = None,
        recipe: Recipe | None = None,
        class_weight: Sequence[float] | torch.Tensor | None = None,
        teacher: Teacher | None = None,
    ):
        super().__init__()
        self.num_classes = given.classes_of(model)
        given.check_kind("preprocessing", preprocessing, Preprocessing)
        given.check_kind("recipe", recipe, Recipe)
        given.check_kind("teacher", teacher, Teacher)
        given.check_teacher(teacher, self.num_classes)
        given.check_class_weight(class_weight, recipe)
        self.teacher = teacher
        if best_device().type == "cpu":
            make_quicker(model)
        fold_batch_norm(model)
        self.model = model.to(memory_format=torch.channels_last)
        self._activations = given.norms_with_activation(self.model)
        self._given = {"preprocessing": preprocessing, "recipe": recipe, "class_weight": class_weight}
        self._see_by(preprocessing or Preprocessing.of(model))
        self.register_buffer("class_weight", given.weights_of(class_weight, self.num_classes), persistent=False)
        self.classes: list[str] | None = None
        self._recipe = recipe or Recipe()
        self.mix = self._recipe.mixing(self.num_classes)
        self.metrics = of_all_parts(self.num_classes, self._recipe.multilabel)
        self.unlogged: frozenset[str] = frozenset()
        self.last_loss: torch.Tensor | None = None
        self._results: list[tuple[torch.Tensor, ...]] = []

    def _see_by(self, preprocessing: Preprocessing) -> None:
        self.preprocessing = preprocessing
        self.normalize = Normalize(preprocessing).to(self.device)

    @property
    def recipe(self) -> Recipe:
        """How it is trained; another one may be set before training."""
        return self._recipe

    @recipe.setter
    def recipe(self, recipe: Recipe) -> None:
        given.check_kind("recipe", recipe, Recipe, optional=False)
        given.check_class_weight(self.class_weight, recipe)
        if recipe.multilabel != self._recipe.multilabel:
            self.metrics = of_all_parts(self.num_classes, recipe.multilabel).to(self.device)
        self._recipe = self._given["recipe"] = recipe
        self.mix = recipe.mixing(self.num_classes)

    @property
    def lr(self) -> float:
        """The recipe's peak rate, under the name by which Lightning's range test sets it."""
        return self.recipe.lr

    @lr.setter
    def lr(self, lr: float) -> None:
        self.recipe = replace(self.recipe, lr=lr)

    @property
    def class_weights(self) -> np.ndarray | None:
        """``class_weight`` for what is no tensor, shape (classes,)."""
        return None if self.class_weight is None else self.class_weight.cpu().numpy()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits, shape (n, classes), of uint8 images, shape (n, 3, height, width)."""
        return self.model(self._input(images))

    def _input(self, images: torch.Tensor) -> torch.Tensor:
        given.check_pixels(images)
        return self.normalize(images)

    def train(self, mode: bool = True) -> "ImageClassifier":
        super().train(mode)
        self._freeze()
        return self

    def _freeze(self) -> None:
        if self.recipe.batch_norm == "frozen":
            for module in self.model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def setup(self, stage: str) -> None:
        """Take the classes of the data, and give every process the weights of the first."""
        names = getattr(getattr(self.trainer, "datamodule", None), "classes", None)
        if names is not None:
            given.check_same_classes(names, self.num_classes)
            given.check_same_kind(self.trainer.datamodule, self.recipe)  # type: ignore[attr-defined]
            self.classes = list(names) if stage == "fit" else self.classes
        if self.trainer.world_size > 1:
            # The head was fitted by the first process only.
            self.model.load_state_dict(self.trainer.strategy.broadcast(self.model.state_dict()))

    def on_fit_start(self) -> None:
        if given.norms_with_activation(self.model) < self._activations:
            raise UserError("sync_batchnorm=True drops the activations that timm's batch norms hold: leave it out.")
        self.train()  # by the recipe, in whatever mode the network was given
        for logger in self.loggers:
            logger.log_hyperparams({"recipe": asdict(self.recipe)})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        spec = getattr(self.model, "spec", None)
        checkpoint["classifier"] = {
            "backbone": spec.name if spec else None,
            "classes": self.classes,
            "preprocessing": self.preprocessing.to_dict(),
            "recipe": asdict(self.recipe),
            "class_weight": None if self.class_weight is None else self.class_weight.tolist(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take what this classifier was not given; another preprocessing than was trained with is a ``UserError``."""
        kept = checkpoint.get("classifier", {})
        self.classes = kept.get("classes", self.classes)
        if "preprocessing" in kept:
            preprocessing = Preprocessing.from_dict(kept["preprocessing"])
            if self._given["preprocessing"] not in (None, preprocessing):
                raise UserError(f"The checkpoint was trained with {preprocessing}: give that as preprocessing=.")
            self._see_by(preprocessing)
        if "recipe" in kept and self._given["recipe"] is None:
            self.recipe = Recipe(**kept["recipe"])
        if kept.get("class_weight") and self._given["class_weight"] is None:
            self.class_weight = torch.tensor(kept["class_weight"], device=self.device)

    def on_train_epoch_start(self) -> None:
        self._freeze()  # Lightning trains in the modes that it finds
        # What is drawn in an epoch must not depend on whether the training was interrupted before it.
        torch.manual_seed(hash((self.recipe.seed, self.current_epoch, self.global_rank)) % 2**31)

    def loss(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The training loss of a batch, a scalar; mixes the images if the recipe says so."""
        return self._answer(images, labels)[0]

    def _answer(self, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The training loss, the logits, and the labels or, of mixed images, the shares of the classes."""
        inputs = self._input(images)
        if self.mix is not None:
            inputs, labels = self.mix(inputs, labels)
        logits = self.model(inputs)
        taught = self.teacher.logits(inputs, self.preprocessing) if self.teacher else None
        return training_losses(logits, labels, self.recipe, self.class_weight, taught).mean(), logits, labels

    def training_step(self, batch: Sequence[torch.Tensor], batch_idx: int) -> torch.Tensor:
        """The loss of a batch of images and labels, a scalar; it is logged with the rate."""
        loss, logits, targets = self._answer(*batch[:2])
        self.last_loss = loss.detach()
        for_bar = not isinstance(self.trainer.progress_bar_callback, LossBar)  # read each step, which a GPU waits for
        self.log("loss", loss, prog_bar=for_bar, logger=False)
        if self.loggers:
            self.log("lr", max(group["lr"] for group in self.trainer.optimizers[0].param_groups))
        labels = targets if targets.ndim == 1 or self.recipe.multilabel else targets.argmax(dim=1)
        self._note("train", loss.detach(), logits.detach(), labels)
        self._log("train", on_step=False, on_epoch=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        self._begin("val")

    def on_test_epoch_start(self) -> None:
        self._begin("test")

    def validation_step(self, batch: Sequence[torch.Tensor], batch_idx: int) -> None:
        self._evaluate("val", *batch)

    def test_step(self, batch: Sequence[torch.Tensor], batch_idx: int) -> None:
        self._evaluate("test", *batch)

    def on_validation_epoch_end(self) -> None:  # in every process alike, whether it had a share of the images or not
        self._log("val", prog_bar=True)

    def on_test_epoch_end(self) -> None:
        self._log("test")

    def predict_step(self, batch: Sequence[torch.Tensor] | torch.Tensor, batch_idx: int) -> torch.Tensor:
        """Probabilities, shape (n, classes)."""
        logits = self(batch if isinstance(batch, torch.Tensor) else batch[0]).float()
        return logits.sigmoid() if self.recipe.multilabel else logits.softmax(dim=1)

    def _evaluate(
        self, part: str, images: torch.Tensor, labels: torch.Tensor, positions: torch.Tensor | None = None
    ) -> None:
        logits = self(images).float()
        self._note(part, evaluation_loss(logits, labels), logits, labels)
        if positions is None:
            before = sum(len(result[1]) for result in self._results)
            positions = (before + torch.arange(len(labels))) * self.trainer.world_size + self.global_rank
        self._results.append((logits.cpu(), labels.cpu(), positions.cpu()))

    def _begin(self, part: str) -> None:
        self._results.clear()  # nobody may have taken those of the last time
        metrics: Any = self.metrics[f"{part}_metrics"]
        for metric in metrics.values():  # its numbers may have been made in inference mode, by `Trainer.validate`
            metric.reset()

    def _note(self, part: str, loss: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> None:
        note(self.metrics[f"{part}_metrics"], loss, logits, labels)

    def _log(self, part: str, **how: Any) -> None:
        metrics: Any = self.metrics[f"{part}_metrics"]
        named = {f"{part}_{name}": metric for name, metric in metrics.items()}
        self.log_dict(named, logger=part not in self.unlogged, **how)

    def take_predictions(self) -> AnyPredictions:
        """The predictions of the evaluation that has just run, of all processes, in the order of the examples.

        Raises:
            UserError: They are not numbers: the training diverged.
        """
        none, rows = torch.empty(0, dtype=torch.int64), torch.empty(0, self.num_classes)  # of no share of the images
        results = zip(*(self._results or [(rows, rows if self.recipe.multilabel else none, none)]), strict=True)
        logits, labels, positions = (torch.cat(parts).numpy() for parts in results)
        self._results.clear()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            gathered: list[Any] = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(gathered, (logits, labels, positions))
            logits, labels, positions = (np.concatenate(parts) for parts in zip(*gathered, strict=True))
        if not np.isfinite(logits).all():
            raise UserError("The training diverged, the network's answers are no numbers any more: lower --lr.")
        _, order = np.unique(positions, return_index=True)  # a foreign sampler may give images twice
        return predictions_from_logits(logits[order], labels[order])

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        # Lightning refuses to clip the gradients of a fused optimizer under mixed precision.
        fused = not isinstance(self.trainer.precision_plugin, MixedPrecision)
        optimizer = self.recipe.optimizer_for(self.model, fused)
        steps = self.trainer.estimated_stepping_batches
        epoch = self.trainer.num_training_batches / self.trainer.accumulate_grad_batches
        warmup = self.recipe.warmup_epochs * (math.ceil(epoch) if math.isfinite(epoch) else 0)
        schedule = cosine(optimizer, steps, min(warmup, steps / 2))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        limit = self.recipe.clip_grad if gradient_clip_val is None else gradient_clip_val
        if limit:
            self.clip_gradients(optimizer, limit, gradient_clip_algorithm)
