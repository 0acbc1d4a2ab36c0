"""What a detector's training keeps: the best weights, a row for each evaluation, checkpoints; and when it ends."""

import csv
import io
import time
from typing import Any

import psutil
from detectron2.engine import hooks
from detectron2.utils import comm
from safetensors.torch import save as to_safetensors
from tqdm import tqdm

from mixtransfer.common.files import remove_unfinished, write_atomic
from mixtransfer.common.messages import tell
from mixtransfer.detection.inference import detect
from mixtransfer.detection.options import TrainOptions
from mixtransfer.detection.scores import coco_scores
from mixtransfer.detection.tiling import as_tiling
from mixtransfer.errors import UserError
from mixtransfer.runs.checkpoint import save_checkpoint
from mixtransfer.runs.run import Run

CHECKPOINT_EVERY = 200  # iterations


def diverged(iteration: int) -> UserError:
    """What is said where losses or boxes are not finite."""
    return UserError(
        f"The loss is not finite in iteration {iteration}: train anew with a smaller --lr, or look for boxes that are "
        "wrong."
    )


class Enough(BaseException):
    """Ends a training early; no Exception, which detectron2 would log as a failure."""


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
            raise Enough

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
        try:
            found = detect(
                model, records, trainer.square, trainer.batch_size, options.workers,
                trainer.rank, trainer.world, trainer.rank == 0, as_tiling(options.tiles, options.overlap),
            )  # fmt: skip
        except AssertionError as error:  # detectron2's, of boxes that are not finite
            raise diverged(done) from error
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
            "images_per_second": steps * self.trainer.batch_size / trained,
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
        return {"best": self.best, "rows": self.rows, "losses": self._losses}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.rows, self._losses = state["best"], state["rows"], state.get("losses", [])
