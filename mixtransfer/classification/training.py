"""A training that begins or goes on: its folder, data and network, before the first stage."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.loggers.logger import DummyLogger

from mixtransfer.backbones import backbone_spec, create_backbone
from mixtransfer.backbones.capability import check_classifier
from mixtransfer.backbones.weights import describe_start, tell_license
from mixtransfer.classification.callbacks import JUDGED, History, KeptModel
from mixtransfer.classification.datamodule import ImageDataModule
from mixtransfer.classification.defaults import check, resolve
from mixtransfer.classification.evidence import Evidence
from mixtransfer.classification.folds import class_weight, is_folded, with_parts
from mixtransfer.classification.image_size import choose_image_size
from mixtransfer.classification.module import ImageClassifier
from mixtransfer.classification.options import MACHINE_OPTIONS, TrainOptions
from mixtransfer.classification.recipe import Recipe
from mixtransfer.classification.teaching import open_teacher
from mixtransfer.classification.trainer import make_trainer, processes
from mixtransfer.common.files import claimed, remove_unfinished
from mixtransfer.common.signals import interruptible
from mixtransfer.data.augment import POLICIES
from mixtransfer.data.dataset import ImageDataset
from mixtransfer.data.images import tell_skipped
from mixtransfer.data.labels import class_counts
from mixtransfer.data.named import NAMED_DATASETS
from mixtransfer.data.names import settled
from mixtransfer.data.own_augment import OBJECT, keep_pipeline, kept_pipeline, read_pipeline
from mixtransfer.data.preprocessing import Preprocessing
from mixtransfer.data.quick_checks import warn
from mixtransfer.data.split_file import Split
from mixtransfer.data.unlabelled import list_unlabelled
from mixtransfer.errors import UserError
from mixtransfer.runs.loggers import logger_names, open_loggers
from mixtransfer.runs.model_card import CLASSIFIERS, ModelCard
from mixtransfer.runs.run import Run, new_folder, reopen
from mixtransfer.runs.run_data import training_images

Say = Callable[[str], None]


@dataclass
class Training:
    """One process's part of a training, which the stages work on.

    Attributes:
        run: Its folder; None in all processes but the first, which alone writes.
        earlier: Of a training that goes on with its body, the same folder in every process; None of one that begins.
        options: Resolved.
        module, data: What is trained, and on what.
        tuning: The same data as ``data``; where fine-tuning is judged out of fold, all images that it was judged by,
            and with images without labels those of them that have got one.
        unlabelled: These images, before they have.
        folded: Whether it is.
        trainer: With its history and what is kept of the epochs.
        say: Where sentences for the user go.
    """

    run: Run | None
    earlier: Run | None
    options: TrainOptions
    module: ImageClassifier
    data: ImageDataModule
    tuning: ImageDataModule
    unlabelled: list[Path]
    folded: bool
    history: History
    kept: KeptModel
    trainer: L.Trainer
    say: Say

    @property
    def dataset(self) -> ImageDataset:
        return self.data.dataset

    def settle(self, **changes: Any) -> None:
        """Change options, for the module and in the run's configuration too."""
        self.options = replace(self.options, **changes)
        self.module.recipe = Recipe.of(self.options)
        if self.run:
            self.run.write_config(self.options)


def reopened(options: TrainOptions, main: bool, claims: contextlib.ExitStack) -> tuple[Run, TrainOptions]:
    """The run that ``options.resume`` names, claimed by the first process until ``claims`` ends, and its options.

    Raises:
        UserError: It cannot go on.
    """
    run, options = reopen(options, MACHINE_OPTIONS)
    if main:
        claims.enter_context(claimed(run.folder))
        remove_unfinished(run.folder)
    return run, options


def prepare(
    run: Run | None,
    options: TrainOptions,
    main: bool,
    say: Say,
    claims: contextlib.ExitStack,
    split: Split | None = None,
    callbacks: Sequence[Callback] = (),
    loggers: Sequence[Logger] = (),
    augment: Any = None,
) -> Training:
    """Read the data, build the network, resolve the options, and begin or reopen the folder.

    Args:
        run: That goes on; None to begin one.
        main: Whether this process is the first.
        claims: Where a claim on the folder is kept.
        split: The parts of a new training, if they are settled.
        callbacks, loggers: More of them, for Lightning.
        augment: An object in the place of what the options say; see ``as_augment``.

    Raises:
        UserError: An option or the data cannot be used.
    """
    if augment is not None:
        options = replace(options, augment=OBJECT)
    check(options)
    logger_names(options.logger)
    if not run and options.augment not in (*POLICIES, OBJECT):
        read_pipeline(Path(options.augment))  # before there is a folder
    named = settled(options.teacher, ()) if options.teacher and Run.is_run(options.teacher) else options.teacher
    unlabelled_in = None if options.unlabelled is None else settled(options.unlabelled, ())
    options = replace(options, data=settled(str(options.data), NAMED_DATASETS), teacher=named, unlabelled=unlabelled_in)
    # A run that goes on knows its network even if the file is gone that --backbone named.
    card = ModelCard.read(run.model, *CLASSIFIERS) if run and run.model.exists() else None
    backbone = card.spec if card else backbone_spec(options.backbone)
    if run and card and not card.architecture and backbone_spec(options.backbone).name != card.backbone:
        raise UserError(f"{run.config} says {options.backbone}, but the run is of {card.backbone}: change that back.")
    earlier = run if run and run.checkpoint.exists() else None
    if not earlier:
        check_classifier(backbone, options.image_size)
    dataset = training_images(options, run, split)
    _describe(dataset, say)
    unlabelled = _unlabelled(options, dataset, run, say)
    # Where the last epoch is over nothing is learnt from it any more.
    teacher = None if earlier and earlier.tuned.exists() else open_teacher(options, dataset, say)
    L.seed_everything(options.seed, verbose=False)
    model = create_backbone(
        backbone,
        weights="none" if earlier else options.weights,  # the checkpoint brings them
        num_classes=len(dataset.classes),
        drop_rate=options.dropout,
        image_size=options.image_size,
    )
    options = resolve(options, dataset, model, say)
    if unlabelled and not options.fit_head and teacher is None:
        raise UserError("--unlabelled takes labels from a head that is fitted first, or from a --teacher: give one.")
    if run is None and main:
        folder = new_folder(options)
        claims.enter_context(claimed(folder))
        run = Run.create(folder, options)
        keep_pipeline(options.augment if augment is None else augment, run.augment)
    if run and main and not run.split.exists():
        dataset.split().write(run.split)
    if run and options.image_size is None:  # one process; see `resolve`
        with resumable(run):
            options = replace(options, image_size=choose_image_size(model, backbone, dataset, options, say))
        run.write_config(options)
    preprocessing = Preprocessing.of(model, options.image_size)
    if run and main and not earlier:
        start = describe_start(backbone, options.weights)
        tell_license(start, say)
        details = {"start": start}
        task = "multilabel" if dataset.is_multilabel else "classification"
        ModelCard.of(task, backbone, dataset.classes, preprocessing.to_dict(), details).write(run.model)
    # A training that goes on is what it was, whatever has become of the machine and the images since.
    folded = _was_folded(earlier) if earlier else is_folded(options, dataset)
    if earlier and folded and processes(options) > 1:
        raise UserError(f"{earlier.folder} is a training on few images in one process: go on with --devices 1.")
    if 1 < processes(options) > len(dataset.train) // 2:
        raise UserError(
            f"{len(dataset.train)} images to train on are too few for {processes(options)} processes: each needs two "
            "or more, so take fewer --devices."
        )
    given = options.augment if augment is None else augment
    augment = kept_pipeline(run.augment, given) if run else given
    data = ImageDataModule.of(dataset, preprocessing, options, augment)
    # What is fine-tuned on: where all images have been judged out of fold, all of them.
    tuning = with_parts(data, dataset.train.joined(dataset.val), dataset.val) if folded else data
    module = ImageClassifier(model, preprocessing, Recipe.of(options), class_weight(options, dataset), teacher)
    # What is tested on the way to a choice is no result, and what was trained on is no validation.
    module.unlogged = frozenset({"test", "val"} if folded else {"test"})
    run = run if main else None
    history = History(run, len(tuning.dataset.train), say, validates=not folded)
    kept = KeptModel(run, best_only=options.patience > 0)
    callbacks = [*callbacks, kept, history, *module.recipe.callbacks()]
    if options.patience:
        callbacks.append(EarlyStopping(JUDGED, mode="min", patience=options.patience))
    # The other processes are told the folder by the first.
    callbacks.append(ModelCheckpoint(run.folder if run else None, filename="last", enable_version_counter=False))
    if run:
        loggers = [*loggers, *open_loggers(options.logger, run.folder, claims)]
        for logger in loggers:
            logger.log_hyperparams(asdict(options))
    elif options.logger:
        loggers = [*loggers, DummyLogger()]  # some callbacks ask whether there is any
    trainer = make_trainer(options, callbacks, max_epochs=options.epochs, logger=list(loggers) or False)
    return Training(run, earlier, options, module, data, tuning, unlabelled, folded, history, kept, trainer, say)


def _unlabelled(options: TrainOptions, dataset: ImageDataset, run: Run | None, say: Say) -> list[Path]:
    """The images without labels that the options name; of a run that has given them labels nothing is looked for.

    Raises:
        UserError: There are none, or the data or the machine is none that they go with.
    """
    if options.unlabelled is None:
        return []
    if processes(options) > 1:  # the others would not know which images got a label
        raise UserError("--unlabelled is for one process: give --devices 1.")
    if run and (run.pseudo_labels.exists() or run.checkpoint.exists()):
        return []
    if dataset.is_multilabel:
        raise UserError(f"--unlabelled is for one class an image, and those of {dataset.name} may have several labels.")
    if not isinstance(dataset.train.images, list):
        raise UserError(f"--unlabelled is for data in files, which {dataset.name} is not.")
    return list_unlabelled(Path(options.unlabelled), dataset, say)


def resumable(run: Run | None) -> contextlib.AbstractContextManager[None]:
    """Work that an interrupt ends with the sentence that says how to go on; see ``interruptible``."""
    return interruptible(lambda: how_to_go_on(run))


def how_to_go_on(run: Run | None) -> str:
    """The sentence on it for who has interrupted a training; of a process without a run nothing."""
    return f"Go on with: mixtransfer classify train --resume {run.folder}" if run else ""


def _was_folded(run: Run) -> bool:
    """Whether the training that goes on was judged in folds before its body began to move."""
    return run.evidence.exists() and Evidence.read(run.evidence).is_of_fine_tuning


def _describe(dataset: ImageDataset, say: Say) -> None:
    tell_skipped(dataset.skipped, say)
    for note in dataset.notes:
        say(note)
    say(
        f"{dataset.name}: {len(dataset.classes)} classes, {len(dataset.train)} images to train on, "
        f"{len(dataset.val)} to validate, {len(dataset.test)} to test."
    )
    parts = dataset.train, dataset.test
    counts, tested = (class_counts(part.labels, len(dataset.classes)).tolist() for part in parts)
    warn(
        dict(zip(dataset.classes, counts, strict=True)),
        dataset.train.images,
        dataset.test.images,
        say,
        tested=dict(zip(dataset.classes, tested, strict=True)),
    )
