"""`classify evaluate`: the scores of a Run's model on labelled images."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from mixtransfer.classification.datamodule import EvaluationData
from mixtransfer.classification.kinds import AnyPredictions, score
from mixtransfer.classification.model import open_classifier
from mixtransfer.classification.module import ImageClassifier
from mixtransfer.classification.multilabel import MultilabelPredictions, per_label
from mixtransfer.classification.options import EvaluateOptions, TrainOptions
from mixtransfer.classification.processes import together
from mixtransfer.classification.recipe import Recipe
from mixtransfer.classification.trainer import make_trainer, predict_examples
from mixtransfer.common.messages import silent, tell
from mixtransfer.common.ranges import AT_LEAST_0, AT_LEAST_1, check_ranges
from mixtransfer.data.dataset import Examples, ImageDataset
from mixtransfer.data.division import counted
from mixtransfer.data.draw import Draw
from mixtransfer.data.groups import settled_groups
from mixtransfer.data.images import tell_skipped
from mixtransfer.data.labels import is_multilabel
from mixtransfer.data.load import list_images
from mixtransfer.data.named import NAMED_DATASETS, read_named
from mixtransfer.data.names import same_data
from mixtransfer.data.packed import unpacked
from mixtransfer.errors import UserError
from mixtransfer.runs.run import Run
from mixtransfer.runs.run_data import images_of_run, read_split, tell_seen

PRECISION = "average_precision"
SET_ASIDE = "--split test takes those that were set aside"
USED = {  # parts that a score is no measure on
    "train": "the model was trained on these images",
    "val": "settings, and where images are few weights too, were chosen on these images",
}


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found: the predictions, their scores, and the class names."""

    predictions: AnyPredictions
    scores: dict
    classes: list[str]

    def to_dict(self) -> dict:
        """For --json: scores, number of images, classes, and counts of (true, predicted) classes, or a row a label."""
        shared = {
            "images": len(self.predictions.labels),
            **{name: estimate.to_dict() for name, estimate in self.scores.items()},
            "classes": self.classes,
        }
        if isinstance(self.predictions, MultilabelPredictions):
            rows = per_label(self.predictions, self.classes)
            return {
                **shared,
                "labels": [{**row, PRECISION: row[PRECISION] and row[PRECISION].to_dict()} for row in rows],
            }
        return {**shared, "confusion_matrix": self.predictions.confusion.tolist()}


def evaluate(options: EvaluateOptions, say: Callable[[str], None] = tell) -> Evaluation | None:
    """Score a run's model; of several processes only the first speaks and returns the result.

    Args:
        say: Where sentences on the data go.

    Raises:
        UserError: The run or the data cannot be used, or the data has a class that the model does not know.
    """
    check_ranges(options, batch_size=AT_LEAST_1, workers=AT_LEAST_0, devices=AT_LEAST_1, num_nodes=AT_LEAST_1)
    trained = open_classifier(options.run)
    main = getattr(rank_zero_only, "rank", None) in (None, 0)
    examples, classes = _chosen_examples(options, Run.open(options.run), say if main else silent)
    if is_multilabel(examples.labels) != trained.multilabel:
        of_data, of_run = ("one class", "several labels") if trained.multilabel else ("several labels", "one class")
        mend = "call the column labels" if trained.multilabel else "list one label an image, in a column label"
        raise UserError(
            f"An image of the data has {of_data}; {options.run} was trained on images with {of_run}: {mend}."
        )
    told = trained.classes
    if trained.multilabel and (missing := [name for name in trained.classes if name not in classes]):
        told = [name for name in trained.classes if name in classes]
        if main:
            say(f"Scored are the labels that the data has: not {_some(missing)}.")
    examples = with_labels_of(examples, classes, trained.classes)
    recipe = Recipe(loss="bce") if trained.multilabel else None
    module = ImageClassifier(trained.model, trained.preprocessing, recipe)
    data = EvaluationData(trained.preprocessing, options.batch_size, options.workers)
    trainer = make_trainer(options, enable_checkpointing=False)
    with together(trainer, evaluate, options, silent):
        predictions = predict_examples(trainer, module, data, examples)
    if not trainer.is_global_zero:
        return None
    if isinstance(predictions, MultilabelPredictions):
        assert trained.thresholds is not None
        kept = [trained.classes.index(name) for name in told]
        predictions = MultilabelPredictions(
            predictions.probabilities[:, kept], predictions.labels[:, kept], trained.thresholds[kept]
        )
    return Evaluation(predictions, score(predictions), told)


def _chosen_examples(options: EvaluateOptions, run: Run, say: Callable[[str], None]) -> tuple[Examples, list[str]]:
    """The images to score, labelled in the order of the class names that come with them."""
    recorded = run.options(TrainOptions)
    own = options.data is None or same_data(options.data, str(recorded.data))
    if own and (options.data is None or run.split.exists()):
        _tell_used(options.split, say)
        dataset = images_of_run(run, options.data_root)
        examples, classes = _part(dataset, options.split or "test", say)
        if options.split == "new":
            _tell_seen(examples, run, say, True)
            _tell_groups(dataset, recorded.group_by, say)
        return examples, classes
    draw = Draw(recorded.val_fraction, recorded.test_fraction, recorded.split_seed)
    if options.data in NAMED_DATASETS:
        dataset = read_named(options.data, Path(options.data_root or recorded.data_root), draw)
        return _part(dataset, options.split or "test", say)
    if own:
        say(f"Warning: {run.folder} keeps no split, so it may have been trained on some of these images.")
    listed = list_images(unpacked(str(options.data), options.data_root or recorded.data_root), options.layout)
    if options.split == "all" or options.split is None and not listed.is_split:
        parts, skipped = listed.usable()
        tell_skipped(skipped, say)
        examples, classes = reduce(Examples.joined, parts.values()), listed.classes
    else:  # of data that is not split the parts are those of the run, if it is the run's in another place
        dataset = listed.dataset(draw if listed.is_split else read_split(run))
        examples, classes = _part(dataset, options.split or "test", say)
        if not listed.is_split:
            _tell_used(options.split, say)
    if options.split not in USED:
        _tell_seen(examples, run, say, listed.is_split)
    return examples, classes


def _tell_used(part: str | None, say: Callable[[str], None]) -> None:
    if part in USED:
        say(f"Warning: {USED[part]}, so the score is too high; {SET_ASIDE}.")


def _tell_seen(examples: Examples, run: Run, say: Callable[[str], None], is_split: bool) -> None:
    if not isinstance(examples.images, np.ndarray):
        tell_seen(run, examples.images, "" if is_split else SET_ASIDE, say)


def _tell_groups(dataset: ImageDataset, group_by: str | None, say: Callable[[str], None]) -> None:
    """Say how many new images belong to groups that were trained on."""
    assert dataset.division and dataset.found
    parts, found = dataset.division.parts, dataset.found
    groups = settled_groups(found.groups, group_by, found.names, found.source)
    used = {group for group, part in zip(groups, parts, strict=True) if group and part in ("train", "val")}
    if inside := sum(groups[i] in used for i in dataset.division.members("new")):
        say(f"Warning: {counted(inside)} of groups that were trained or validated on, so the score is too high.")


def _part(dataset: ImageDataset, part: str, say: Callable[[str], None]) -> tuple[Examples, list[str]]:
    tell_skipped(dataset.skipped, say)
    for note in dataset.notes:
        say(note)
    parts = dataset.parts
    if part == "all":
        counts = ", ".join(f"{len(its):,} {name}" for name, its in parts.items() if len(its))
        say(f"All images are scored, in whatever part: {counts}.")
        return reduce(Examples.joined, parts.values()), dataset.classes
    if not len(parts[part]):
        raise UserError(f"{dataset.name} has no {part} images to score: choose another --split.")
    return parts[part], dataset.classes


def with_labels_of(examples: Examples, found: list[str], known: list[str]) -> Examples:
    """The same images, labelled in the model's order of classes."""
    if unknown := sorted(set(found) - set(known)):
        raise UserError(f"The model does not know the class {unknown[0]!r} of the data; it knows {_some(known)}.")
    order = np.array([known.index(name) for name in found])
    if not is_multilabel(examples.labels):
        return Examples(examples.images, order[examples.labels])
    labels = np.zeros((len(examples), len(known)), dtype=examples.labels.dtype)
    labels[:, order] = examples.labels
    return Examples(examples.images, labels)


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
