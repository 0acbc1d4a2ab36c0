"""`classify train`: from options to a Run."""

import contextlib
from collections.abc import Callable
from dataclasses import replace

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.tuner import Tuner
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from mixtransfer.backbones import backbone_spec, create_backbone
from mixtransfer.backbones.answer import divide_answer
from mixtransfer.backbones.capability import check_classifier
from mixtransfer.checkpoint import load_checkpoint
from mixtransfer.classification.answers import write_answers
from mixtransfer.classification.blend import Start, State, mixture
from mixtransfer.classification.callbacks import JUDGED, History, KeptModel
from mixtransfer.classification.datamodule import ClassificationData
from mixtransfer.classification.defaults import check, default_rate, has_many_of_a_class, resolve
from mixtransfer.classification.evidence import Evidence
from mixtransfer.classification.image_size import choose_image_size
from mixtransfer.classification.metrics import Predictions, mean_log_loss, score, selected_on
from mixtransfer.classification.model import model_bytes, read_state
from mixtransfer.classification.module import Classifier
from mixtransfer.classification.options import MACHINE_OPTIONS, TrainOptions
from mixtransfer.classification.selection import HEAD, SHARES, TOLERANCE, TOLERANCE_OF_MANY, judge, judge_all
from mixtransfer.classification.stages import (
    Choice,
    FittedHead,
    choose,
    class_weight,
    images_an_epoch,
    is_folded,
    judge_fine_tuning,
    refitted,
    set_head,
    with_parts,
)
from mixtransfer.classification.trainer import (
    averaging,
    make_trainer,
    predict_examples,
    prepare_process,
    processes,
    rates_by_layer,
    steps_of,
)
from mixtransfer.console import in_minutes, silent
from mixtransfer.data.dataset import ImageDataset
from mixtransfer.data.division import counted
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

RANGE_STEPS = 60  # of the range test for a learning rate

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
        say = silent
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
    if run and card and not card.architecture and backbone_spec(options.backbone).name != card.backbone:
        raise UserError(f"{run.config} says {options.backbone}, but the run is of {card.backbone}: change that back.")
    if not (run and run.checkpoint.exists()):
        check_classifier(backbone, options.image_size)
    dataset = training_images(options, run, split)
    _describe(dataset, say)
    L.seed_everything(options.seed, verbose=False)
    model = create_backbone(
        backbone,
        # The checkpoint brings the weights of a run that goes on.
        weights="none" if run and run.checkpoint.exists() else options.weights,
        num_classes=len(dataset.classes),
        drop_rate=options.dropout,
        image_size=options.image_size,
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
            options = replace(options, image_size=choose_image_size(model, backbone, dataset, options, say))
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
        self.data = ClassificationData.of(dataset, preprocessing, options)
        self.module = Classifier(model, preprocessing, options, class_weight(options, dataset))
        self.resumes = run is not None and run.checkpoint.exists()
        # A training that goes on is what it was, whatever has become of the machine and the images since.
        self.folded = _was_folded(run) if self.resumes else is_folded(options, dataset)
        if self.resumes and self.folded and processes(options) > 1:
            raise UserError(f"{run and run.folder} is a training on few images in one process: go on with --devices 1.")

    def run_to_end(self) -> Run | None:
        run = self.run
        if not self.resumes and self.options.batch_size == "auto":
            self._find_batch_size()
        # What is fine-tuned on: where all images have been judged out of fold, all of them.
        every = self.dataset.train.joined(self.dataset.val)
        tuning = with_parts(self.data, every, self.dataset.val) if self.folded else self.data
        history = History(run, len(tuning.dataset.train), self.say, validates=not self.folded)
        kept = KeptModel(run, best_only=self.options.patience > 0)
        trainer = self._trainer(history, kept, len(tuning.dataset.train))
        head = None
        if not self.resumes and self.options.fit_head:
            if run:
                head = self._fit_head(trainer.strategy.root_device, run)
            trainer.validate(self.module, self.data, verbose=False)
        if not self.resumes and self.options.lr == "find" and self.options.epochs:
            self._find_rate()
        options, choice = self.options, self._choice_of_folds(head)
        if not options.epochs or choice and choice.share == HEAD:
            return self._finish(trainer, history, kept, choice or Choice(HEAD, 1.0))
        if run and run.tuned.exists():  # interrupted after the last epoch
            try:
                states = load_checkpoint(run.checkpoint)["callbacks"]
                for callback in (history, kept):
                    callback.load_state_dict(states[callback.state_key])
            except (FileNotFoundError, KeyError, TypeError) as error:
                raise UserError(f"{run.checkpoint} is missing or not of this training: train anew.") from error
            return self._finish(trainer, history, kept, choice)
        steps = self.module.total_steps = steps_of(options, len(tuning.dataset.train))
        each = counted(steps // options.epochs, "step")
        self.say(f"Training {options.backbone} for {counted(options.epochs, 'epoch')} of {each}.")
        self.module.train()  # Lightning leaves it as it is: in evaluation mode after the head, but not after --resume
        trainer.fit(
            self.module, tuning, ckpt_path=str(run.checkpoint) if run and self.resumes else None, weights_only=True
        )
        return self._finish(trainer, history, kept, choice)

    def _trainer(self, history: History, kept: KeptModel, images: int) -> L.Trainer:
        options = self.options
        # The model is written before averaging swaps the weights back; the checkpoint comes last.
        callbacks: list[Callback] = [kept, history]
        if options.ema:
            callbacks.append(averaging(steps_of(options, images)))
        if options.patience:
            callbacks.append(EarlyStopping(JUDGED, mode="min", patience=options.patience))
        folder = self.run.folder if self.run else None  # the other processes are told by the first
        callbacks.append(ModelCheckpoint(folder, filename="last", enable_version_counter=False))
        return make_trainer(options, callbacks, max_epochs=options.epochs, gradient_clip_val=options.clip_grad or None)

    def _find_batch_size(self) -> None:
        """The largest batch that a GPU holds, and the learning rate that goes with it."""
        if torch.cuda.is_available():
            limit = max(2, len(self.dataset.train) // 8)
            found = self._tuner().scale_batch_size(self.module, self.data, init_val=8, max_trials=8) or 32
            self.data.batch_size = min(found, limit)
        self.say(f"Batch size {self.data.batch_size}.")
        options = replace(self.options, batch_size=self.data.batch_size)
        rate = default_rate(options, len(self.dataset.train), self.say) if options.lr is None else options.lr
        self._settle(replace(options, lr=rate))

    def _find_rate(self) -> None:
        """The learning rate of a range test, from the fitted head and with each layer at its share of the head's."""
        with rates_by_layer():
            finder = self._tuner().lr_find(self.module, self.data, min_lr=1e-6, max_lr=1.0, num_training=RANGE_STEPS)
        rate = finder.suggestion() if finder else None
        if rate is None:
            rate = default_rate(self.options, len(self.dataset.train))
            self.say("The range test has found no rate at which the loss falls, so the usual one is taken.")
        self.say(f"Learning rate {rate:.2g}.")
        self._settle(replace(self.options, lr=rate))

    def _tuner(self) -> Tuner:
        folder = self.run and self.run.folder  # for what the tuner restores the weights from
        alone = replace(self.options, devices=1)
        if not isinstance(self.module.lr, float):
            self.module.lr = 1e-3
        # The range test ends after its steps, which may take several passes over few images, and never validates.
        trainer = make_trainer(
            alone,
            max_epochs=-1,
            check_val_every_n_epoch=RANGE_STEPS + 1,
            enable_checkpointing=False,
            default_root_dir=folder,
        )
        return Tuner(trainer)

    def _settle(self, options: TrainOptions) -> None:
        self.options = self.module.options = options
        self.module.lr = options.lr
        if self.run:
            self.run.write_config(options)

    def _fit_head(self, device: torch.device, run: Run) -> FittedHead:
        """Set the head to the logistic regression on frozen features, and keep what it was chosen by."""
        head = set_head(self.module, self.data, device)
        if run.evidence.exists() and (kept := Evidence.read(run.evidence)).is_like(head.evidence):
            head = replace(head, evidence=kept)
        head.evidence.write(run.evidence)
        Start.save(run.start, self.module.model, refitted(head, self.module))
        judged = head.evidence.predictions[HEAD]
        right = (judged.predicted == judged.labels).mean()
        rest = ""
        if self.options.epochs:
            # A step takes about three times what the network's answer takes, there and back.
            seconds = 3 * head.seconds * self.options.epochs * images_an_epoch(self.options, self.dataset)
            rest = f" Fine-tuning takes about {in_minutes(seconds)}; --epochs 0 ends here."
        self.say(
            f"The head has {100 * right:.1f} % of {len(judged.labels)} images right that it was not fitted on.{rest}"
        )
        return head

    def _choice_of_folds(self, head: FittedHead | None) -> Choice | None:
        """What folds say is to be kept; the head is then the one that is fitted on all images, which they judged.

        Args:
            head: None in a training that goes on with its body.
        """
        run = self.run
        if run is None or not self.folded:
            return None
        if head:
            evidence = head.evidence
            self.say(f"Fine-tuning is judged out of fold first: {len(evidence.numbers)} trainings on other images.")
            judge_fine_tuning(self.module, self.data, head, lambda: evidence.write(run.evidence))
            refitted(head, self.module).copy_to(self.module.model.get_classifier())
        else:
            evidence = Evidence.read(run.evidence)
        judged = judge_all(evidence.predictions, self.module.class_weights)
        choice = choose(judged, tolerance=0.0)  # they are evidence enough
        if head:
            tuned, alone = judged[choice.share or SHARES[-1]].loss, judged[HEAD].loss
            verdict = f"{100 * choice.share:.0f} % of it is kept" if choice.share else "the head stays as it is"
            self.say(f"Out of fold the log loss is {tuned:.3f} with fine-tuning, {alone:.3f} without: {verdict}.")
        return choice

    def _finish(self, trainer: L.Trainer, history: History, kept: KeptModel, choice: Choice | None) -> Run | None:
        """Choose the final weights, test them once, and write what came of it."""
        choice, validated = self._settle_weights(trainer, choice)
        tested = predict_examples(trainer, self.module, self.data, self.dataset.test)
        if not self.run or validated is None:
            return None
        if self.options.patience:
            last = history.rows[-1]["epoch"]
            self.say(
                f"Of {counted(last, 'epoch')} the weights of epoch {kept.epoch} are kept, whose validation log loss is "
                "the least once it is calibrated."
            )
        scores = {"validation": score(validated), "test": score(tested)}
        seconds = sum(row["seconds"] or 0 for row in history.rows)
        if self.run.evidence.exists():
            seconds += Evidence.read(self.run.evidence).seconds
        self.run.write_metrics(
            validation={name: selected_on(estimate) for name, estimate in scores["validation"].items()},
            training={
                "kept_epoch": kept.epoch,
                "fine_tuned_share": choice.share,
                "validation_images": len(validated.labels),
                "seconds": round(seconds, 1),
                "images_per_second": _median([row["images_per_second"] for row in history.rows]),
            },
        )
        from mixtransfer.classification.report import write_report

        write_report(self.run, self.options, self.dataset, tested, scores, history.rows, seconds)
        write_answers(self.run.test_predictions, tested, self.dataset.test, self.dataset.classes)
        # The test scores come last: a run that has them is finished.
        self.run.write_metrics(
            log_loss={"validation": mean_log_loss(validated).to_dict(), "test": mean_log_loss(tested).to_dict()},
            test={name: estimate.to_dict() for name, estimate in scores["test"].items()},
        )
        for file in (self.run.start, self.run.tuned, self.run.evidence):
            file.unlink(missing_ok=True)
        return self.run

    def _settle_weights(self, trainer: L.Trainer, choice: Choice | None) -> tuple[Choice, Predictions | None]:
        """Set the module to the mixture of start and fine-tuned weights that is chosen, calibrated.

        Args:
            choice: What folds chose; None to choose on the images to validate on.

        Returns:
            What is chosen, and what this network says of the images to validate on; where it was fitted on them too,
            what was said out of fold, which only the first process knows.
        """
        run, module = self.run, self.module
        # Averaging the weights has averaged these constants too, which moves them by rounding errors.
        module.normalize = Normalize(self.data.preprocessing)
        start = Start.load(run.start, module.model) if run and run.start.exists() else None
        tuned: State = {}
        if run and run.checkpoint.exists():
            if not run.tuned.exists():  # else the weights may be the final ones already
                write_atomic(run.tuned, run.weights.read_bytes())
            tuned = read_state(run.tuned, module.model)

        begin: State = start.judged if start else {}

        def load(share: float) -> None:
            self._load_everywhere(trainer, mixture(begin, tuned, share) if begin and tuned else begin or tuned)

        validated: dict[float, Predictions] = {}
        chosen_here = choice is None
        if choice is None:
            tolerance = TOLERANCE_OF_MANY if has_many_of_a_class(self.dataset) else TOLERANCE
            for share in trainer.strategy.broadcast(SHARES if start else (1.0,)):
                load(share)
                validated[share] = predict_examples(trainer, module, self.data, self.dataset.val)
            choice = choose(judge_all(validated, module.class_weights), tolerance)
        if run and start and (self.folded or choice.share == HEAD):
            evidence = Evidence.read(run.evidence)
            temperature = judge(evidence.predictions[choice.share], module.class_weights).temperature
            choice = replace(choice, temperature=temperature)
            # The images to validate on that other backbones would be compared on, where these chose.
            validated = evidence.validation if chosen_here else evidence.predictions
            begin = start.alone
        choice = trainer.strategy.broadcast(choice)
        load(choice.share)
        if not divide_answer(module.model, choice.temperature, self.data.preprocessing.size):
            self.say("How sure this network is cannot be corrected: its last layer does more than weigh features.")
            choice = replace(choice, temperature=1.0)
        if run:
            write_atomic(run.weights, model_bytes(module.model))
        said = validated.get(choice.share)
        return choice, said and said.at_temperature(choice.temperature)

    def _load_everywhere(self, trainer: L.Trainer, state: dict) -> None:
        """Load what the first process has into the network of every process."""
        if trainer.world_size > 1:
            state = trainer.strategy.broadcast(state)
        self.module.model.load_state_dict(state)


def _was_folded(run: Run | None) -> bool:
    """Whether the training that goes on was judged in folds before its body began to move."""
    return run is not None and run.evidence.exists() and Evidence.read(run.evidence).is_of_fine_tuning


def _describe(dataset: ImageDataset, say: Say) -> None:
    tell_skipped(dataset.skipped, say)
    for note in dataset.notes:
        say(note)
    say(
        f"{dataset.name}: {len(dataset.classes)} classes, {len(dataset.train)} images to train on, "
        f"{len(dataset.val)} to validate, {len(dataset.test)} to test."
    )
    counts = np.bincount(dataset.train.labels, minlength=len(dataset.classes)).tolist()
    tested = np.bincount(dataset.test.labels, minlength=len(dataset.classes)).tolist()
    warn(
        dict(zip(dataset.classes, counts, strict=True)),
        dataset.train.images,
        dataset.test.images,
        say,
        tested=dict(zip(dataset.classes, tested, strict=True)),
    )


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(np.median(known)), 2) if known else None
