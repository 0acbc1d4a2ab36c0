"""The training loop of one process, on detectron2's: steps, averaging, evaluation, checkpoints, progress."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import torch
from detectron2.engine import TrainerBase, create_ddp_model, hooks
from detectron2.utils import comm
from detectron2.utils.events import TensorboardXWriter
from lightning.pytorch.loggers import Logger
from torch import nn

from mixtransfer.common.device import best_device
from mixtransfer.data.detection.augment import as_detection_augment
from mixtransfer.data.detection.dataset import DetectionDataset
from mixtransfer.data.own_augment import kept_pipeline
from mixtransfer.detection.beginning import (
    autocast_type,
    keep_statistics,
    make_optimizer,
    start_network,
    with_shared_statistics,
)
from mixtransfer.detection.keeper import Enough, Keeper, diverged
from mixtransfer.detection.loader import TrainingLoader
from mixtransfer.detection.model import Card, read_detector_card
from mixtransfer.detection.options import TrainOptions
from mixtransfer.detection.schedule import make_schedule
from mixtransfer.errors import UserError
from mixtransfer.runs.averaging import MovingAverage
from mixtransfer.runs.checkpoint import load_checkpoint
from mixtransfer.runs.run import Run


def train_in_process(
    run: Run,
    options: TrainOptions,
    dataset: DetectionDataset,
    loggers: Sequence[Logger] = (),
    augment: Any = None,
    more: Sequence[hooks.HookBase] = (),
) -> None:
    """Train to the end, from the run's checkpoint if it has one.

    Args:
        loggers: Of the first process, which get settings and rows.
        augment: An object in the place of what the options say; see ``as_detection_augment``.
        more: Hooks of detectron2 beside our own.
    """
    card, state = _of_the_first(run)
    trainer = DetectionTrainer(run, options, dataset, card, loggers, augment, resumes=state is not None)
    with contextlib.closing(trainer):
        trainer.register_hooks(more)
        if state is not None:
            try:
                trainer.load_state_dict(state)
            except Exception as error:  # a stranger's may hold anything in the place of a state
                raise UserError(
                    f"{run.checkpoint} is not of this training: remove it, and --resume begins the training anew."
                ) from error
        if not trainer.keeper.enough:
            with contextlib.suppress(Enough):
                trainer.train(trainer.next_iteration, options.iterations)


def _of_the_first(run: Run) -> tuple[Card, dict[str, Any] | None]:
    """The model's card and the checkpoint, if there is one: the first process reads them for all, on all machines."""
    found, error = None, None
    if comm.get_rank() == 0:
        try:
            card, state = read_detector_card(run.model), None
            with contextlib.suppress(FileNotFoundError):
                state = load_checkpoint(run.checkpoint)
            found = card, state
        except UserError as problem:
            error = problem
    found, error = comm.all_gather((found, error))[0]
    if error is not None:
        raise error
    return found


class DetectionTrainer(TrainerBase):
    """Optimizer steps over a dataset; a hook evaluates, keeps the best weights and the checkpoint."""

    def __init__(
        self,
        run: Run,
        options: TrainOptions,
        dataset: DetectionDataset,
        card: Card,
        loggers: Sequence[Logger] = (),
        augment: Any = None,
        resumes: bool = False,
    ):
        super().__init__()
        self.square = card[1].square
        self.augment = as_detection_augment(
            kept_pipeline(run.augment, options.augment if augment is None else augment),
            self.square.size,
            self.square.resize,
        )
        self.run, self.options, self.dataset = run, options, dataset
        self.rank, self.world = comm.get_rank(), comm.get_world_size()
        self.next_iteration = 0
        device = best_device()
        assert options.iterations and options.batch_size
        self.batch_size = options.batch_size
        torch.manual_seed(options.seed)
        self.model = start_network(options, card, resumes).to(device)
        if device.type != "cpu" and self.world > 1:  # torch has none for the CPU
            self.model = with_shared_statistics(self.model, self.batch_size / self.world / options.accumulate)
        # Its buffers, the statistics of batch norms, are averaged as the weights that they belong to.
        self.average = MovingAverage(self.model, min(0.1 * options.iterations, 2000)) if options.ema else None
        places = {"device_ids": None} if device.type == "cpu" else {}  # by default a GPU
        self.parallel = create_ddp_model(self.model, broadcast_buffers=True, **places)
        self.optimizer = make_optimizer(self.model, options)
        self.scheduler = make_schedule(self.optimizer, options)
        self.dtype = autocast_type(options.precision, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16)
        self.device = device
        self.loggers = loggers if self.rank == 0 else ()
        for logger in self.loggers:
            logger.log_hyperparams(asdict(options))
        self.batches: Iterator[list[dict[str, Any]]] = iter(())
        self.writers = [TensorboardXWriter(str(run.folder / "tensorboard"))] if self.rank == 0 else []
        writing = hooks.PeriodicWriter(self.writers, period=20) if self.writers else None
        self.keeper = Keeper(run, options)
        self.register_hooks([self.keeper, writing])

    def close(self) -> None:
        """End the threads and processes that it has begun, which an error would leave."""
        self.batches = iter(())
        for writer in self.writers:
            writer.close()

    def before_train(self) -> None:
        options = self.options
        loader = TrainingLoader(
            self.dataset.train,
            self.augment,
            max(1, self.batch_size // self.world),
            options.seed,
            options.workers,
            self.rank,
            self.world,
            start=self.start_iter,
        )
        self.batches = iter(loader)
        super().before_train()

    def run_step(self) -> None:
        self.parallel.train()
        keep_statistics(self.model.backbone.body, self.options.batch_norm == "frozen")
        self.optimizer.zero_grad()
        self.losses = self._propagate(next(self.batches))
        if not math.isfinite(sum(self.losses.values())):
            raise diverged(self.iter + 1)
        if self.options.clip_grad:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip_grad)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.lr = self.scheduler.get_last_lr()[0]
        self.scheduler.step()
        if self.average:
            self.average.update_parameters(self.model)
        self.storage.put_scalars(total_loss=sum(self.losses.values()), lr=self.lr, **self.losses)

    def _propagate(self, batch: list[dict[str, Any]]) -> dict[str, float]:
        """Losses of a batch, in parts one after another, whose gradients add up to those of its mean."""
        count = len(batch)
        parts = min(count, self.options.accumulate)
        total: torch.Tensor | None = None
        for number in range(parts):
            part = batch[number * count // parts : (number + 1) * count // parts]
            waits = self.world > 1 and number + 1 < parts
            with self.parallel.no_sync() if waits else contextlib.nullcontext():
                with torch.autocast(self.device.type, self.dtype or torch.float32, enabled=self.dtype is not None):
                    losses = self.parallel(part)
                share = len(part) / count
                self.scaler.scale(sum(losses.values()) * share).backward()
            values = torch.stack([value.detach().float() for value in losses.values()]) * share
            total = values if total is None else total + values
        assert total is not None
        return dict(zip(losses, total.tolist(), strict=True))  # the step's one synchronization

    @property
    def evaluated(self) -> nn.Module:
        """The network whose weights are judged and kept."""
        return self.average.module if self.average else self.model

    def state_dict(self) -> dict[str, Any]:
        parts: dict[str, Any] = {"model": self.model, "average": self.average, "optimizer": self.optimizer}
        parts |= {"scheduler": self.scheduler, "scaler": self.scaler, "keeper": self.keeper}
        state = {name: part.state_dict() for name, part in parts.items() if part is not None}
        return {**state, "next_iteration": self.iter + 1}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.next_iteration = state["next_iteration"]
        self.model.load_state_dict(state["model"])
        if self.average:
            self.average.load_state_dict(state["average"])
        for group, own in zip(state["optimizer"]["param_groups"], self.optimizer.param_groups, strict=True):
            group["fused"] = own["fused"]  # a checkpoint of before it was; how a step is computed, not what it is
        for name, part in (("optimizer", self.optimizer), ("scheduler", self.scheduler), ("scaler", self.scaler)):
            part.load_state_dict(state[name])
        self.keeper.load_state_dict(state["keeper"])
