"""The training loop of one process, on detectron2's: steps, averaging, evaluation, checkpoints, progress."""

import contextlib
import csv
import io
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import psutil
import torch
from detectron2.engine import TrainerBase, create_ddp_model, hooks
from detectron2.utils import comm
from detectron2.utils.events import TensorboardXWriter
from lightning.pytorch.loggers import Logger
from safetensors.torch import save as to_safetensors
from torch import nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from mixtransfer.averaging import moving_average
from mixtransfer.checkpoint import load_checkpoint, save_checkpoint
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
from mixtransfer.detection.inference import detect
from mixtransfer.detection.loader import TrainingLoader
from mixtransfer.detection.model import Card, read_detector_card
from mixtransfer.detection.options import TrainOptions
from mixtransfer.detection.schedule import make_schedule
from mixtransfer.detection.scores import coco_scores
from mixtransfer.detection.tiling import as_tiling
from mixtransfer.device import best_device
from mixtransfer.errors import UserError
from mixtransfer.files import remove_unfinished, write_atomic
from mixtransfer.messages import tell
from mixtransfer.run import Run

CHECKPOINT_EVERY = 200  # iterations


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
            with contextlib.suppress(_Enough):
                trainer.train(trainer.next_iteration, options.iterations)


class _Enough(BaseException):
    """Ends a training early; no Exception, which detectron2 would log as a failure."""


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
        assert options.iterations
        torch.manual_seed(options.seed)
        self.model = start_network(options, card, resumes).to(device)
        if device.type != "cpu" and self.world > 1:  # torch has none for the CPU
            self.model = with_shared_statistics(self.model, options.batch_size / self.world / options.accumulate)
        average = moving_average(min(0.1 * options.iterations, 2000))
        # Its buffers, the statistics of batch norms, are averaged as the weights that they belong to.
        self.average = AveragedModel(self.model, multi_avg_fn=average, use_buffers=True) if options.ema else None
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
            max(1, options.batch_size // self.world),
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
        if self.options.batch_norm == "frozen":
            keep_statistics(self.model.backbone.body)
        self.optimizer.zero_grad()
        self.losses = self._propagate(next(self.batches))
        if not math.isfinite(sum(self.losses.values())):
            raise UserError(
                f"The loss is not finite in iteration {self.iter + 1}: resume with a smaller --lr, "
                "or look for boxes that are wrong."
            )
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
        for name, part in (("optimizer", self.optimizer), ("scheduler", self.scheduler), ("scaler", self.scaler)):
            part.load_state_dict(state[name])
        self.keeper.load_state_dict(state["keeper"])


class Keeper(hooks.HookBase):
    """Evaluates on the validation part, keeps the best weights, the history and the checkpoint, and shows progress.

    ``metrics.csv`` gets a row an evaluation: iteration, loss, loss_cls and loss_box_reg (means since the last row), lr,
    AP and AP50 (percent), seconds, images_per_second (of the training part) and rss_mb (resident memory of the main
    process).
    """

    def __init__(self, run: Run, options: TrainOptions):
        self.run, self.options = run, options
        self.best = -1.0
        self.rows: list[dict[str, float]] = []
        self._losses: list[dict[str, float]] = []

    def before_train(self) -> None:
        self._since = time.perf_counter()
        self._evaluating = 0.0
        if self.trainer.rank == 0:
            remove_unfinished(self.run.folder)
        self._bar = tqdm(
            total=self.options.iterations, initial=self.trainer.start_iter, desc="Training", leave=False,
            disable=None if self.trainer.rank == 0 else True,
        )  # fmt: skip

    def after_step(self) -> None:
        trainer, done = self.trainer, self.trainer.iter + 1
        self._losses.append(trainer.losses)
        self._bar.update()
        self._bar.set_postfix(loss=f"{sum(trainer.losses.values()):.3f}", refresh=False)
        last = done == self.options.iterations
        evaluates = last or done % self.options.eval_every == 0
        if evaluates:
            self._evaluate(done)
        if trainer.rank == 0 and (evaluates or done % CHECKPOINT_EVERY == 0):
            save_checkpoint(self.run.checkpoint, trainer.state_dict())
        if evaluates and not last and comm.all_gather(self.enough)[0]:
            if trainer.rank == 0:
                tell(f"Stopping: no better AP in {self.options.patience} evaluations (--patience).")
            raise _Enough

    def after_train(self) -> None:
        self._bar.close()

    @property
    def enough(self) -> bool:
        """Whether the last evaluations, as many as ``patience`` says, were no better than one before."""
        scores = [row["AP"] or 0.0 for row in self.rows]
        patience = self.options.patience
        return 0 < patience < len(scores) and max(scores[-patience:]) <= max(scores[:-patience])

    def _evaluate(self, done: int) -> None:
        trainer, options = self.trainer, self.options
        trained = time.perf_counter() - self._since
        model, records = trainer.evaluated, trainer.dataset.val
        found = detect(
            model, records, trainer.square, options.batch_size, options.workers,
            trainer.rank, trainer.world, trainer.rank == 0, as_tiling(options.tiles, options.overlap),
        )  # fmt: skip
        found = [one for share in comm.gather(found) for one in share]
        if trainer.rank == 0:
            scores = coco_scores(records, found, trainer.dataset.classes, trainer.dataset.category_ids)
            self._keep(done, scores, trained)
        comm.synchronize()
        self._since = time.perf_counter()

    def _keep(self, done: int, scores, trained: float) -> None:
        steps = len(self._losses)
        means = {name: sum(step[name] for step in self._losses) / steps for name in self._losses[0]}
        self._losses.clear()
        row = {
            "iteration": done,
            "loss": sum(means.values()),
            **means,
            "lr": self.trainer.lr,
            "AP": scores.ap["AP"],
            "AP50": scores.ap["AP50"],
            "seconds": time.perf_counter() - self._since,
            "images_per_second": steps * self.options.batch_size / trained,
            "rss_mb": psutil.Process().memory_info().rss / 2**20,
        }
        self.rows.append(row)
        for logger in self.trainer.loggers:
            logger.log_metrics({k: v for k, v in row.items() if k != "iteration" and v is not None}, done)
            logger.save()
        with tqdm.external_write_mode():
            tell(
                f"Iteration {done}/{self.options.iterations}: loss {row['loss']:.3f}, validation AP "
                f"{row['AP'] or 0:.1f}, AP50 {row['AP50'] or 0:.1f}, {row['images_per_second']:.1f} images/s, "
                f"{row['seconds'] / steps * ((self.options.iterations or done) - done) / 60:.0f} minutes left"
            )
        if (row["AP"] or 0.0) >= self.best:  # of equal ones the later, which have seen more
            self.best = row["AP"] or 0.0
            state = {k: v.detach().cpu().contiguous() for k, v in self.trainer.evaluated.state_dict().items()}
            write_atomic(self.run.weights, to_safetensors(state))
        text = io.StringIO()
        writer = csv.DictWriter(text, list(row), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in self.rows)
        write_atomic(self.run.history, text.getvalue())

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.rows = state["best"], state["rows"]
