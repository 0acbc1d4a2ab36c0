"""`classify train`: from options to a Run."""

import math
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import lightning as L
import numpy as np
import safetensors.torch
import torch
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.tuner import Tuner
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from mixtransfer.backbones import backbone_spec, create_backbone
from mixtransfer.classification.callbacks import BestModel, History, model_bytes
from mixtransfer.classification.datamodule import ClassificationData
from mixtransfer.classification.head import fit_head, pooled_features
from mixtransfer.classification.metrics import best_temperature, score
from mixtransfer.classification.module import Classifier
from mixtransfer.classification.options import TrainOptions
from mixtransfer.classification.trainer import make_trainer, predict_examples, processes, quieten
from mixtransfer.data.augment import Augment
from mixtransfer.data.dataset import ImageDataset
from mixtransfer.data.load import load_dataset
from mixtransfer.data.preprocessing import Preprocessing
from mixtransfer.errors import Interrupted, UserError
from mixtransfer.files import write_atomic
from mixtransfer.run import ModelCard, Run

# What a resumed run may do otherwise than its own configuration says: the machine may be another one.
MACHINE_OPTIONS = ("data_root", "workers", "devices", "num_nodes", "precision")

# Shares of the fine-tuned weights to choose from; the rest is the pretrained network with its fitted head.
BLEND_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)

Say = Callable[[str], None]


def train(options: TrainOptions, say: Say = print) -> Run:
    """Fine-tune a backbone as ``options`` say and return the finished run.

    Args:
        say: Where sentences for the user go; only the first of several processes speaks.

    Raises:
        UserError: An option or the data cannot be used.
        Interrupted: Ctrl-C; what is needed to resume has been written.
    """
    quieten()
    main = rank_zero_only.rank in (None, 0)
    if not main:
        say = _nothing
    run = None
    if options.resume:
        run, options = _reopen(options)
        if "test" in run.read_metrics():
            say(f"{run.folder} is finished already.")
            return run
    elif options.data is None:
        raise UserError("Say what to train on: mixtransfer classify train DATA (a folder, a CSV file or a name).")
    backbone_spec(options.backbone)
    dataset = load_dataset(
        options.data, options.data_root, options.val_fraction, options.test_fraction, options.split_seed
    )
    _describe(dataset, say)
    L.seed_everything(options.seed, verbose=False)
    model = create_backbone(
        options.backbone,
        # The checkpoint brings the weights of a run that goes on.
        weights="none" if run and run.checkpoint.exists() else options.weights,
        num_classes=len(dataset.classes),
        drop_rate=options.dropout,
    )
    options = resolve(options, dataset, model)
    preprocessing = Preprocessing.of(model, options.image_size)
    if run is None and main:
        run = Run.create(_output(options), options)
    try:
        return _Session(run, options, dataset, model, preprocessing, say).run_to_end()
    except (KeyboardInterrupt, SystemExit) as stop:  # Lightning answers Ctrl-C by exiting
        again = f"Go on with: mixtransfer classify train --resume {run.folder}" if run else ""
        raise Interrupted(f"Interrupted. {again}") from stop


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
        self.start = time.perf_counter()
        augment = Augment(options.augment, preprocessing.size, options.min_crop)
        batch_size = 32 if options.batch_size == "auto" else options.batch_size
        self.data = ClassificationData(dataset, preprocessing, augment, batch_size, options.workers, options.seed)
        self.module = Classifier(model, preprocessing, options, _class_weight(options, dataset))
        self.resumes = run is not None and run.checkpoint.exists()
        if run and not self.resumes:
            ModelCard("classification", options.backbone, dataset.classes, preprocessing.to_dict()).write(run.model)

    def run_to_end(self) -> Run:
        options, run = self.options, self.run
        self._tune()
        images_a_step = self.data.batch_size * processes(options)
        steps = math.ceil(len(self.dataset.train) / images_a_step) * options.epochs
        self.module.total_steps = steps
        history, best = History(run, len(self.dataset.train), self.say), BestModel(run)
        trainer = self._trainer(history, best, steps)
        if not self.resumes and options.fit_head:
            if run:
                self._fit_head(trainer)
            trainer.validate(self.module, self.data, verbose=False)
        self.say(f"Training {options.backbone} for {options.epochs} epochs of {steps // options.epochs} steps.")
        trainer.fit(self.module, self.data, ckpt_path=str(run.checkpoint) if self.resumes else None, weights_only=True)
        return self._finish(trainer, history, best)

    def _trainer(self, history: History, best: BestModel, steps: int) -> L.Trainer:
        options = self.options
        # The best model is written before averaging swaps the weights back; the checkpoint comes last.
        callbacks = [best, history]
        if options.ema:
            callbacks.append(EMAWeightAveraging(decay=1 - 1 / max(2, min(0.15 * steps, 5000))))
        if options.patience:
            callbacks.append(EarlyStopping("val_top1", mode="max", patience=options.patience))
        folder = self.run and self.run.folder  # the other processes are told by the first
        callbacks.append(ModelCheckpoint(folder, filename="last", enable_version_counter=False))
        return make_trainer(options, callbacks, max_epochs=options.epochs, gradient_clip_val=options.clip_grad or None)

    def _tune(self) -> None:
        """Find the batch size and the learning rate where the options ask for it."""
        options = self.options
        if self.resumes or not (options.batch_size == "auto" or options.lr == "find"):
            return
        tuner = Tuner(make_trainer(replace(options, devices=1), max_epochs=1, enable_checkpointing=False))
        self.module.lr = 1e-3 if options.lr == "find" else options.lr
        if options.batch_size == "auto":
            if torch.cuda.is_available():
                limit = max(2, len(self.dataset.train) // 8)
                found = tuner.scale_batch_size(self.module, self.data, init_val=8, max_trials=8) or 32
                self.data.batch_size = min(found, limit)
            self.say(f"Batch size {self.data.batch_size}.")
        if options.lr == "find":
            finder = tuner.lr_find(self.module, self.data, min_lr=1e-6, max_lr=1.0, num_training=60)
            self.module.lr = (finder and finder.suggestion()) or 1e-3
            self.say(f"Learning rate {self.module.lr:.2g}.")
        self.options = replace(options, batch_size=self.data.batch_size, lr=self.module.lr)
        self.module.options = self.options
        if self.run:
            self.run.write_config(self.options)

    def _fit_head(self, trainer: L.Trainer) -> None:
        device = trainer.strategy.root_device
        classifier = self.module.to(device)
        features = {
            part: pooled_features(
                classifier.model,
                classifier.normalize,
                self.data.evaluation_loader(getattr(self.dataset, part)),
                device,
                flip=part == "train" and self.options.augment not in ("none", "crop"),
                title=f"Features of {part}",
            )
            for part in ("train", "val")
        }
        fit_head(classifier.model.get_classifier(), features["train"], features["val"], self.options.class_weights)
        write_atomic(self.run.start, model_bytes(classifier.model))

    def _finish(self, trainer: L.Trainer, history: History, best: BestModel) -> Run:
        """Choose the final weights on validation, test them once, and write what came of it."""
        share = self._blend(trainer)
        results = {
            part: predict_examples(trainer, self.module, self.data, examples)
            for part, examples in (("validation", self.dataset.val), ("test", self.dataset.test))
        }
        if not self.run:
            return Run(Path())
        scores = {part: score(predictions) for part, predictions in results.items()}
        self.run.write_metrics(
            validation={name: estimate.to_dict() for name, estimate in scores["validation"].items()},
            training={
                "best_epoch": best.epoch,
                "fine_tuned_share": share,
                "seconds": round(sum(row["seconds"] or 0 for row in history.rows), 1),
                "images_per_second": _median([row["images_per_second"] for row in history.rows]),
            },
        )
        from mixtransfer.classification.report import write_report

        write_report(self.run, self.options, self.dataset, results["test"], scores, history.rows)
        self.run.start.unlink(missing_ok=True)
        # The test scores come last: a run that has them is finished.
        self.run.write_metrics(test={name: estimate.to_dict() for name, estimate in scores["test"].items()})
        return self.run

    def _blend(self, trainer: L.Trainer) -> float:
        """Set the module to the best mixture of the fine-tuned weights and those before fine-tuning.

        On few images fine-tuning can lose what the pretrained features knew; a straight line between the two
        networks often holds a better one than either end (Wortsman et al., CVPR 2022). The share is chosen on
        validation, and so is the temperature, which is folded into the head.

        Returns:
            The share of the fine-tuned weights.
        """
        main = self.run is not None
        tuned = safetensors.torch.load_file(self.run.weights) if main else None
        start = safetensors.torch.load_file(self.run.start) if main and self.run.start.exists() else None
        shares = trainer.strategy.broadcast(BLEND_SHARES if start else (1.0,))
        tried = []
        for share in shares:
            self._load_everywhere(trainer, tuned and _mixture(start, tuned, share))
            predictions = predict_examples(trainer, self.module, self.data, self.dataset.val)
            temperature, loss = best_temperature(predictions)
            tried.append((loss, share, temperature))
        _, share, temperature = min(tried)
        self._load_everywhere(trainer, tuned and _mixture(start, tuned, share))
        head = self.module.model.get_classifier()
        with torch.no_grad():
            for parameter in head.parameters():
                parameter /= temperature
        if main:
            write_atomic(self.run.weights, model_bytes(self.module.model))
        return share

    def _load_everywhere(self, trainer: L.Trainer, state: dict | None) -> None:
        """Load what the first process has into the network of every process."""
        if trainer.world_size > 1:
            state = trainer.strategy.broadcast(state)
        self.module.model.load_state_dict(state)


def resolve(options: TrainOptions, dataset: ImageDataset, model: torch.nn.Module) -> TrainOptions:
    """Fill in every option left to us, and check those given against the data."""
    images, scratch = len(dataset.train), options.weights == "none"
    if options.epochs is not None and options.epochs < 1:
        raise UserError(f"--epochs is {options.epochs}; it must be at least 1.")
    if options.batch_size != "auto" and options.batch_size < 1:
        raise UserError(f"--batch-size is {options.batch_size}; it must be at least 1.")
    if options.image_size is not None and not 16 <= options.image_size <= 2048:
        raise UserError(f"--image-size is {options.image_size}; it must lie between 16 and 2048.")
    if not 0 < options.min_crop <= 1:
        raise UserError(f"--min-crop is {options.min_crop}; it must lie between 0 and 1.")
    epochs = options.epochs or (30 if scratch else int(np.clip(round(450 / images**0.5), 5, 20)))
    lr = options.lr or default_lr(options.optimizer, scratch)
    frozen = not scratch and images < 5000
    return replace(
        options,
        epochs=epochs,
        lr=lr,
        image_size=options.image_size or Preprocessing.of(model).size,
        fit_head=_can_fit_head(model) and (not scratch if options.fit_head is None else options.fit_head),
        batch_norm={"auto": "frozen" if frozen else "train"}.get(options.batch_norm, options.batch_norm),
        layer_decay=1.0 if scratch else options.layer_decay,
        warmup_epochs=min(options.warmup_epochs, epochs / 2),
        augment="crop" if dataset.name == "digits" and options.augment == "standard" else options.augment,
    )


def _can_fit_head(model: torch.nn.Module) -> bool:
    return isinstance(model.get_classifier(), torch.nn.Linear)


def default_lr(optimizer: str, scratch: bool) -> float:
    """The peak learning rate of the head for batches of 32."""
    return {"adamw": (2e-3, 2e-3), "sgd": (0.02, 0.05)}[optimizer][scratch]


def _reopen(options: TrainOptions) -> tuple[Run, TrainOptions]:
    run = Run.open(options.resume)
    known = {field.name for field in fields(TrainOptions)}
    values = run.read_config()
    if unknown := sorted(values.keys() - known):
        raise UserError(f"{run.config} has the key {unknown[0]!r}, which this version does not know.")
    recorded = TrainOptions(**values)
    if options.data is not None and options.data != recorded.data:
        raise UserError(f"{run.folder} was trained on {recorded.data}, not on {options.data}: leave DATA out.")
    default = TrainOptions()
    changed = {k: getattr(options, k) for k in MACHINE_OPTIONS if getattr(options, k) != getattr(default, k)}
    return run, replace(recorded, **changed)


def _output(options: TrainOptions) -> Path:
    """The folder asked for, or the first free name under runs/."""
    if options.output:
        return Path(options.output)
    name = f"{Path(options.data).stem}-{options.backbone}"
    candidates = (Path("runs") / (name if i == 1 else f"{name}-{i}") for i in range(1, 10_000))
    return next(path for path in candidates if not path.exists())


def _describe(dataset: ImageDataset, say: Say) -> None:
    for path, reason in list(dataset.skipped.items())[:20]:
        say(f"Left out: {path} {reason}.")
    if len(dataset.skipped) > 20:
        say(f"… and {len(dataset.skipped) - 20} more files that cannot be used.")
    for note in dataset.notes:
        say(note)
    say(
        f"{dataset.name}: {len(dataset.classes)} classes, {len(dataset.train)} images to train on, "
        f"{len(dataset.val)} to validate, {len(dataset.test)} to test."
    )


def _class_weight(options: TrainOptions, dataset: ImageDataset) -> torch.Tensor | None:
    if options.class_weights == "none":
        return None
    counts = np.bincount(dataset.train.labels, minlength=len(dataset.classes))
    return torch.tensor(counts.sum() / (len(counts) * counts), dtype=torch.float32)


def _mixture(start: dict | None, tuned: dict, share: float) -> dict:
    if start is None or share == 1:
        return tuned
    return {
        name: torch.lerp(start[name], value, share) if value.is_floating_point() else value
        for name, value in tuned.items()
    }


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(np.median(known)), 2) if known else None


def _nothing(_: str) -> None:
    pass
