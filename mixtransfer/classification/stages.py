"""The stages of a training, in order: fit the head, judge in folds, tune the body, select, test."""

from dataclasses import dataclass, replace
from typing import Any

import torch

from mixtransfer.backbones.answer import correct_answer, divide_answer
from mixtransfer.classification.blend import Start, State, mixture
from mixtransfer.classification.datamodule import EvaluationData
from mixtransfer.classification.defaults import has_many_of_a_class
from mixtransfer.classification.evidence import Evidence
from mixtransfer.classification.folds import (
    Choice,
    FittedHead,
    choose,
    images_an_epoch,
    judge_fine_tuning,
    mirrors,
    refitted,
    set_head,
)
from mixtransfer.classification.kinds import AnyPredictions, in_words
from mixtransfer.classification.known import KnownScore
from mixtransfer.classification.known_fit import known_by, learn_known
from mixtransfer.classification.label_calibration import LabelCalibration, calibrate_labels
from mixtransfer.classification.model import model_bytes, read_state
from mixtransfer.classification.multilabel import MultilabelPredictions
from mixtransfer.classification.selection import (
    HEAD,
    SHARES,
    TOLERANCE,
    TOLERANCE_OF_LABELS,
    TOLERANCE_OF_MANY,
    judge,
    judge_all,
)
from mixtransfer.classification.trainer import predict_examples, steps_of
from mixtransfer.classification.training import Training
from mixtransfer.common.files import write_atomic
from mixtransfer.common.messages import in_minutes
from mixtransfer.data.division import counted
from mixtransfer.errors import UserError
from mixtransfer.runs.checkpoint import load_checkpoint


def fit_head(training: Training) -> FittedHead | None:
    """Set the head to the logistic regression on frozen features, and keep what it was chosen by.

    Returns:
        None where no head is fitted: here, or by this process.
    """
    run, module, options = training.run, training.module, training.options
    if training.earlier or not options.fit_head:
        return None
    head = None
    if run:
        head = set_head(module, training.data, training.trainer.strategy.root_device, mirrors(options))
        if run.evidence.exists() and (kept := Evidence.read(run.evidence)).is_like(head.evidence):
            head = replace(head, evidence=kept)
        head.evidence.write(run.evidence)
        Start.save(run.start, module.model, refitted(head, module))
        rest = ""
        if options.epochs:
            # A step takes about three times what the network's answer takes, there and back.
            seconds = 3 * head.seconds * options.epochs * images_an_epoch(options, training.dataset)
            more = ", and the teacher's answers more" if module.teacher else ""
            more += ", and the images without labels more" if training.unlabelled else ""
            rest = f" Fine-tuning takes about {in_minutes(seconds)}{more}; --epochs 0 ends here."
        training.say(f"The head has {in_words(head.evidence.predictions[HEAD])} that it was not fitted on.{rest}")
    training.trainer.validate(module, training.data, verbose=False)
    return head


def judge_in_folds(training: Training, head: FittedHead | None) -> Choice | None:
    """What folds say is to be kept; the head is then the one that is fitted on all images, which they judged.

    Args:
        head: None in a training that goes on with its body.

    Returns:
        None where there are no folds, so that the images to validate on decide.
    """
    run, module = training.run, training.module
    if run is None or not training.folded:
        return None
    if head:
        evidence = head.evidence
        training.say(f"Fine-tuning is judged out of fold first: {len(evidence.numbers)} trainings on other images.")
        judge_fine_tuning(module, training.data, training.options, head, lambda: evidence.write(run.evidence))
        refitted(head, module).copy_to(module.model.get_classifier())
    else:
        evidence = Evidence.read(run.evidence)
    judged = judge_all(evidence.predictions, module.class_weights)
    choice = choose(judged, tolerance=0.0)  # they are evidence enough
    if head:
        tuned, alone = judged[choice.share or SHARES[-1]].loss, judged[HEAD].loss
        verdict = f"{100 * choice.share:.0f} % of it is kept" if choice.share else "the head stays as it is"
        training.say(f"Out of fold the log loss is {tuned:.3f} with fine-tuning, {alone:.3f} without: {verdict}.")
    return choice


def tune(training: Training) -> None:
    """Fine-tune the whole network, or go on with it; afterwards the run holds the weights of the kept epoch."""
    earlier, options = training.earlier, training.options
    if earlier and earlier.tuned.exists():  # interrupted after the last epoch
        try:
            states = load_checkpoint(earlier.checkpoint)["callbacks"]
            for callback in (training.history, training.kept):
                callback.load_state_dict(states[callback.state_key])
        except (FileNotFoundError, KeyError, TypeError) as error:
            raise UserError(f"{earlier.checkpoint} is missing or not of this training: train anew.") from error
        return
    assert options.epochs
    each = counted(steps_of(options, len(training.tuning.dataset.train)) // options.epochs, "step")
    training.say(f"Training {options.backbone} for {counted(options.epochs, 'epoch')} of {each}.")
    training.module.train()  # Lightning leaves it as it is: in evaluation mode after the head, but not after --resume
    path = str(earlier.checkpoint) if earlier else None
    training.trainer.fit(training.module, training.tuning, ckpt_path=path, weights_only=True)


@dataclass(frozen=True)
class Selected:
    """What is kept of a training.

    Attributes:
        choice: The share of the fine-tuned weights, and the temperature.
        validated: What the network says of the images to validate on; where it was fitted on them too, what was said
            out of fold, which only the first process knows.
        labels: Of several labels an image, how each is corrected and its threshold.
    """

    choice: Choice
    validated: AnyPredictions | None
    labels: LabelCalibration | None = None


def select(training: Training, choice: Choice | None) -> Selected:
    """Set the module to the mixture of start and fine-tuned weights that is chosen, calibrated, and write it.

    Args:
        choice: What folds chose; None to choose on the images to validate on.
    """
    run, module, trainer, data = training.run, training.module, training.trainer, training.data
    start = Start.load(run.start, module.model) if run and run.start.exists() else None
    tuned: State = {}
    if run and run.checkpoint.exists():
        if not run.tuned.exists():  # else the weights may be the final ones already
            write_atomic(run.tuned, run.weights.read_bytes())
        tuned = read_state(run.tuned, module.model)
    begin: State = start.judged if start else {}

    def load(share: float) -> None:
        state = mixture(begin, tuned, share) if begin and tuned else begin or tuned
        if trainer.world_size > 1:
            state = trainer.strategy.broadcast(state)
        module.model.load_state_dict(state)

    validated: dict[float, AnyPredictions] = {}
    judged_by: AnyPredictions | None = None
    chosen_here = choice is None
    if choice is None:
        tolerance = TOLERANCE_OF_MANY if has_many_of_a_class(training.dataset) else TOLERANCE
        tolerance = TOLERANCE_OF_LABELS if module.recipe.multilabel else tolerance
        for share in trainer.strategy.broadcast(SHARES if start else (1.0,)):
            load(share)
            validated[share] = predict_examples(trainer, module, data, data.dataset.val)
        choice = choose(judge_all(validated, module.class_weights), tolerance)
    if run and start and (training.folded or choice.share == HEAD):
        evidence = Evidence.read(run.evidence)
        judged_by = evidence.predictions[choice.share]
        temperature = judge(judged_by, module.class_weights).temperature
        choice = replace(choice, temperature=temperature)
        # The images to validate on that other backbones would be compared on, where these chose.
        validated = evidence.validation if chosen_here else evidence.predictions
        begin = start.alone
    choice = trainer.strategy.broadcast(choice)
    load(choice.share)
    if not divide_answer(module.model, choice.temperature, module.preprocessing.size):
        training.say("How sure this network is cannot be corrected: its last layer does more than weigh features.")
        choice = replace(choice, temperature=1.0)
    said = validated.get(choice.share)
    said = said and said.at_temperature(choice.temperature)
    labels = None
    if module.recipe.multilabel:
        judged_by = judged_by.at_temperature(choice.temperature) if judged_by else said
        labels = correct_labels(training, judged_by)
        said = labels.apply(said) if isinstance(said, MultilabelPredictions) else None
    if run:
        write_atomic(run.weights, model_bytes(module.model))
    return Selected(choice, said, labels)


def correct_labels(training: Training, judged_by: AnyPredictions | None) -> LabelCalibration:
    """Correct what the network says of each label, if it can be, and choose the thresholds.

    Args:
        judged_by: What is said of images that it was not trained on; None in processes that do not know.
    """
    module = training.module

    def calibrated(corrects: bool) -> LabelCalibration:
        known = isinstance(judged_by, MultilabelPredictions)
        own: Any = calibrate_labels(judged_by, corrects) if known else None  # type: ignore[arg-type]
        return training.trainer.strategy.broadcast(own)

    labels = calibrated(True)
    divisor, shift = (torch.from_numpy(values) for values in (1 / labels.scale, labels.shift))
    return labels if correct_answer(module.model, divisor, shift, module.preprocessing.size) else calibrated(False)


def known_score(training: Training, selected: Selected, head: FittedHead | None) -> KnownScore | None:
    """What tells known images from others by the selected network's features.

    Args:
        head: What was fitted in this process, whose features are those of the network where the head alone is kept.

    Returns:
        None where there is no such measure: of this network, or by this process.
    """
    module, data = training.module, training.data
    if training.run is None:
        return None
    if head and selected.choice.share == HEAD:
        return known_by(head.features, training.dataset)
    device = training.trainer.strategy.root_device
    alone = EvaluationData(data.preprocessing, data.batch_size, data.workers)  # this process does it, on all images
    return learn_known(module.model, module.normalize, alone, training.dataset, device)


def test(training: Training, selected: Selected) -> AnyPredictions:
    """What the selected network says of the test images, which nothing has looked at before."""
    said = predict_examples(training.trainer, training.module, training.data, training.dataset.test)
    if isinstance(said, MultilabelPredictions) and selected.labels:
        return replace(said, thresholds=selected.labels.thresholds)
    return said
