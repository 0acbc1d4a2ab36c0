"""`classify train`: from options to a Run."""

import contextlib
import math
from collections.abc import Callable
from dataclasses import replace

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, WeightAveraging
from lightning.pytorch.tuner import Tuner
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from mixtransfer.averaging import moving_average
from mixtransfer.backbones import backbone_spec, create_backbone
from mixtransfer.checkpoint import load_checkpoint
from mixtransfer.classification.answers import write_answers
from mixtransfer.classification.blend import SHARES, TOLERANCE, TOLERANCE_OF_MANY, Start, best_share, mixture
from mixtransfer.classification.callbacks import History, KeptModel
from mixtransfer.classification.datamodule import ClassificationData
from mixtransfer.classification.defaults import check, default_rate, has_many_of_a_class, resolve
from mixtransfer.classification.head import fit_head, set_head
from mixtransfer.classification.image_size import choose_image_size
from mixtransfer.classification.metrics import Predictions, best_temperature, score
from mixtransfer.classification.model import model_bytes, read_state
from mixtransfer.classification.module import Classifier
from mixtransfer.classification.options import TrainOptions
from mixtransfer.classification.trainer import make_trainer, predict_examples, prepare_process, processes
from mixtransfer.data.augment import Augment
from mixtransfer.data.dataset import ImageDataset
from mixtransfer.data.images import tell_skipped
from mixtransfer.data.named import NAMED_DATASETS
from mixtransfer.data.names import settled
from mixtransfer.data.preprocessing import Normalize, Preprocessing
from mixtransfer.data.quick_checks import warn
from mixtransfer.data.split_file import Split
from mixtransfer.errors import UserError
from mixtransfer.files import claimed, remove_unfinished, write_atomic
from mixtransfer.run import ModelCard, Run, new_folder, reopen
from mixtransfer.run_data import training_images
from mixtransfer.signals import interruptible

# What a resumed run may do otherwise than its own configuration says: the machine may be another one.
MACHINE_OPTIONS = ("data_root", "workers", "devices", "num_nodes", "precision")

Say = Callable[[str], None]


def train(options: TrainOptions, say: Say = print, split: Split | None = None) -> Run | None:
    """Fine-tune a backbone as ``options`` say and return the finished run; None in all processes but the first.

    Args:
        say: Where sentences for the user go; only the first of several processes speaks.
        split: The parts of a new training, if they are settled.

    Raises:
        UserError: An option or the data cannot be used.
        Interrupted: Ctrl-C; what is needed to resume has been written.
    """
    with contextlib.ExitStack() as claims:
        return _train(options, say, split, claims)


def _train(options: TrainOptions, say: Say, split: Split | None, claims: contextlib.ExitStack) -> Run | None:
    prepare_process()
    main = getattr(rank_zero_only, "rank", None) in (None, 0)
    if not main:
        say = _nothing
    run = None
    if options.resume:
        run, options = reopen(options, MACHINE_OPTIONS)
        if main:
            claims.enter_context(claimed(run.folder))
            remove_unfinished(run.folder)
        if "test" in run.read_metrics():
            say(f"{run.folder} is finished already.")
            return run if main else None
    elif options.data is None:
        raise UserError("Say what to train on: mixtransfer classify train DATA (a folder, a CSV file or a name).")
    check(options)
    options = replace(options, data=settled(str(options.data), NAMED_DATASETS))
    # A run that goes on knows its network even if the file is gone that --backbone named.
    card = ModelCard.read(run.model, "classification") if run and run.model.exists() else None
    backbone = card.spec if card else backbone_spec(options.backbone)
    dataset = training_images(options, run, split)
    _describe(dataset, say)
    L.seed_everything(options.seed, verbose=False)
    model = create_backbone(
        backbone,
        # The checkpoint brings the weights of a run that goes on.
        weights="none" if run and run.checkpoint.exists() else options.weights,
        num_classes=len(dataset.classes),
        drop_rate=options.dropout,
    )
    options = resolve(options, dataset, model, say)
    if run is None and main:
        folder = new_folder(options)
        claims.enter_context(claimed(folder))
        run = Run.create(folder, options)
    if run and main and not run.split.exists():
        dataset.split().write(run.split)
    with interruptible(lambda: f"Go on with: mixtransfer classify train --resume {run.folder}" if run else ""):
        if run and options.image_size is None:  # one process; see `resolve`
            options = replace(options, image_size=choose_image_size(model, dataset, options.workers, say))
            run.write_config(options)
        preprocessing = Preprocessing.of(model, options.image_size)
        if run and not run.checkpoint.exists():
            ModelCard.of("classification", backbone, dataset.classes, preprocessing.to_dict()).write(run.model)
        return _Session(run, options, dataset, model, preprocessing, say).run_to_end()


class _Session:
    """One process's part of a training: head, body, test, report."""

    def __init__(
        self,
        run: Run | None,
        options: TrainOptions,
        dataset: ImageDataset,
        model: torch.nn.Module,
        preprocessing: Preprocessing,
        say: Say,
    ):
        self.run, self.options, self.dataset, self.say = run, options, dataset, say
        augment = Augment(
            options.augment, preprocessing.size, options.min_crop, preprocessing.interpolation, preprocessing.crop_mode
        )
        batch_size = 32 if options.batch_size == "auto" else options.batch_size
        self.data = ClassificationData(dataset, preprocessing, augment, batch_size, options.workers, options.seed)
        self.module = Classifier(model, preprocessing, options, _class_weight(options, dataset))
        self.resumes = run is not None and run.checkpoint.exists()

    def run_to_end(self) -> Run | None:
        options, run = self.options, self.run
        assert options.epochs
        self._tune()
        images_a_step = self.data.batch_size * processes(options)
        steps = math.ceil(len(self.dataset.train) / images_a_step) * options.epochs
        self.module.total_steps = steps
        history = History(run, len(self.dataset.train), self.say)
        kept = KeptModel(run, best_only=options.patience > 0)
        trainer = self._trainer(history, kept, steps)
        if not self.resumes and options.fit_head:
            if run:
                self._fit_head(trainer, run)
            trainer.validate(self.module, self.data, verbose=False)
        if run and run.tuned.exists():  # interrupted after the last epoch
            try:
                states = load_checkpoint(run.checkpoint)["callbacks"]
                for callback in (history, kept):
                    callback.load_state_dict(states[callback.state_key])
            except (FileNotFoundError, KeyError, TypeError) as error:
                raise UserError(f"{run.checkpoint} is missing or not of this training: train anew.") from error
            return self._finish(trainer, history, kept)
        self.say(f"Training {options.backbone} for {options.epochs} epochs of {steps // options.epochs} steps.")
        self.module.train()  # Lightning leaves it as it is: in evaluation mode after the head, but not after --resume
        trainer.fit(
            self.module, self.data, ckpt_path=str(run.checkpoint) if run and self.resumes else None, weights_only=True
        )
        return self._finish(trainer, history, kept)

    def _trainer(self, history: History, kept: KeptModel, steps: int) -> L.Trainer:
        options = self.options
        # The model is written before averaging swaps the weights back; the checkpoint comes last.
        callbacks: list[Callback] = [kept, history]
        if options.ema:
            callbacks.append(WeightAveraging(multi_avg_fn=moving_average(min(0.15 * steps, 5000))))
        if options.patience:
            callbacks.append(EarlyStopping("val_top1", mode="max", patience=options.patience))
        folder = self.run.folder if self.run else None  # the other processes are told by the first
        callbacks.append(ModelCheckpoint(folder, filename="last", enable_version_counter=False))
        return make_trainer(options, callbacks, max_epochs=options.epochs, gradient_clip_val=options.clip_grad or None)

    def _tune(self) -> None:
        """Find the batch size and the learning rate where the options ask for it."""
        options = self.options
        if self.resumes or not (options.batch_size == "auto" or options.lr == "find"):
            return
        folder = self.run and self.run.folder  # for what the tuner restores the weights from
        alone = replace(options, devices=1)
        tuner = Tuner(make_trainer(alone, max_epochs=1, enable_checkpointing=False, default_root_dir=folder))
        self.module.lr = 1e-3 if options.lr in (None, "find") else options.lr
        if options.batch_size == "auto":
            if torch.cuda.is_available():
                limit = max(2, len(self.dataset.train) // 8)
                found = tuner.scale_batch_size(self.module, self.data, init_val=8, max_trials=8) or 32
                self.data.batch_size = min(found, limit)
            self.say(f"Batch size {self.data.batch_size}.")
        if options.lr is None:
            found_batch = replace(options, batch_size=self.data.batch_size)
            self.module.lr = default_rate(found_batch, len(self.dataset.train), self.say)
        if options.lr == "find":
            finder = tuner.lr_find(self.module, self.data, min_lr=1e-6, max_lr=1.0, num_training=60)
            self.module.lr = (finder and finder.suggestion()) or 1e-3
            self.say(f"Learning rate {self.module.lr:.2g}.")
        self.options = replace(options, batch_size=self.data.batch_size, lr=self.module.lr)
        self.module.options = self.options
        if self.run:
            self.run.write_config(self.options)

    def _fit_head(self, trainer: L.Trainer, run: Run) -> None:
        """Set the head to the logistic regression on frozen features, and keep this start for the blend."""
        train, val, strength = set_head(self.module, self.data, trainer.strategy.root_device)
        refitted = fit_head(train + val, strength, self.options.class_weights == "balanced")
        Start.save(run.start, self.module.model, refitted)

    def _finish(self, trainer: L.Trainer, history: History, kept: KeptModel) -> Run | None:
        """Choose the final weights on validation, test them once, and write what came of it."""
        share, validated = self._blend(trainer)
        tested = predict_examples(trainer, self.module, self.data, self.dataset.test)
        if not self.run:
            return None
        scores = {"validation": score(validated), "test": score(tested)}
        self.run.write_metrics(
            validation={name: estimate.to_dict() for name, estimate in scores["validation"].items()},
            training={
                "kept_epoch": kept.epoch,
                "fine_tuned_share": share,
                "seconds": round(sum(row["seconds"] or 0 for row in history.rows), 1),
                "images_per_second": _median([row["images_per_second"] for row in history.rows]),
            },
        )
        from mixtransfer.classification.report import write_report

        write_report(self.run, self.options, self.dataset, tested, scores, history.rows)
        write_answers(self.run.test_predictions, tested, self.dataset.test, self.dataset.classes)
        # The test scores come last: a run that has them is finished.
        self.run.write_metrics(test={name: estimate.to_dict() for name, estimate in scores["test"].items()})
        self.run.start.unlink(missing_ok=True)
        self.run.tuned.unlink(missing_ok=True)
        return self.run

    def _blend(self, trainer: L.Trainer) -> tuple[float, Predictions]:
        """Set the module to the mixture of start and fine-tuned weights that is best on validation.

        The temperature that calibrates it there is folded into the head.

        Returns:
            The share of the fine-tuned weights, and the validation predictions that it was chosen by.
        """
        run = self.run
        if run and not run.tuned.exists():  # else the weights may be the final ones already
            write_atomic(run.tuned, run.weights.read_bytes())
        tuned = read_state(run.tuned, self.module.model) if run else {}
        # Averaging the weights has averaged these constants too, which moves them by rounding errors.
        self.module.normalize = Normalize(self.data.preprocessing)
        start = Start.load(run.start, self.module.model) if run and run.start.exists() else None
        validated, temperatures = {}, {}
        for share in trainer.strategy.broadcast(SHARES if start else (1.0,)):
            self._load_everywhere(trainer, mixture(start.judged, tuned, share) if start else tuned)
            predictions = predict_examples(trainer, self.module, self.data, self.dataset.val)
            temperatures[share], _ = best_temperature(predictions)
            validated[share] = predictions.at_temperature(temperatures[share])
        share = best_share(validated, TOLERANCE_OF_MANY if has_many_of_a_class(self.dataset) else TOLERANCE)
        self._load_everywhere(trainer, mixture(start.used, tuned, share) if start else tuned)
        with torch.no_grad():
            for parameter in self.module.model.get_classifier().parameters():
                parameter /= temperatures[share]
        if run:
            write_atomic(run.weights, model_bytes(self.module.model))
        return share, validated[share]

    def _load_everywhere(self, trainer: L.Trainer, state: dict) -> None:
        """Load what the first process has into the network of every process."""
        if trainer.world_size > 1:
            state = trainer.strategy.broadcast(state)
        self.module.model.load_state_dict(state)


def _describe(dataset: ImageDataset, say: Say) -> None:
    tell_skipped(dataset.skipped, say)
    for note in dataset.notes:
        say(note)
    say(
        f"{dataset.name}: {len(dataset.classes)} classes, {len(dataset.train)} images to train on, "
        f"{len(dataset.val)} to validate, {len(dataset.test)} to test."
    )
    counts = np.bincount(dataset.train.labels, minlength=len(dataset.classes)).tolist()
    warn(dict(zip(dataset.classes, counts, strict=True)), dataset.train.images, dataset.test.images, say)


def _class_weight(options: TrainOptions, dataset: ImageDataset) -> torch.Tensor | None:
    if options.class_weights == "none":
        return None
    counts = np.bincount(dataset.train.labels, minlength=len(dataset.classes))
    return torch.tensor(counts.sum() / (len(counts) * counts), dtype=torch.float32)


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(np.median(known)), 2) if known else None


def _nothing(_: str) -> None:
    pass
