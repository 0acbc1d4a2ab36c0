"""`classify evaluate`: the scores of a Run's model on labelled images."""

from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np

from mixtransfer.classification.datamodule import EvaluationData
from mixtransfer.classification.metrics import Predictions, score
from mixtransfer.classification.model import open_classifier
from mixtransfer.classification.module import Classifier
from mixtransfer.classification.options import EvaluateOptions, TrainOptions
from mixtransfer.classification.trainer import make_trainer, predict_examples, prepare_process
from mixtransfer.data.dataset import Examples
from mixtransfer.data.load import list_images, load_dataset
from mixtransfer.data.named import NAMED_DATASETS
from mixtransfer.errors import UserError
from mixtransfer.ranges import AT_LEAST_0, AT_LEAST_1, check_ranges
from mixtransfer.run import Run


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found: the predictions, their scores, and the class names."""

    predictions: Predictions
    scores: dict
    classes: list[str]

    def to_dict(self) -> dict:
        """For --json: scores, number of images, classes, and counts of (true, predicted) classes."""
        return {
            "images": len(self.predictions.labels),
            **{name: estimate.to_dict() for name, estimate in self.scores.items()},
            "classes": self.classes,
            "confusion_matrix": self.predictions.confusion.tolist(),
        }


def evaluate(options: EvaluateOptions) -> Evaluation | None:
    """Score a run's model; of several processes only the first returns the result.

    Raises:
        UserError: The run or the data cannot be used, or the data has a class that the model does not know.
    """
    check_ranges(options, batch_size=AT_LEAST_1, workers=AT_LEAST_0, devices=AT_LEAST_1, num_nodes=AT_LEAST_1)
    prepare_process()
    trained = open_classifier(options.run)
    examples, classes = _chosen_examples(options, Run.open(options.run).options(TrainOptions))
    examples = with_labels_of(examples, classes, trained.classes)
    module = Classifier(trained.model, trained.preprocessing)
    data = EvaluationData(trained.preprocessing, options.batch_size, options.workers)
    trainer = make_trainer(options, enable_checkpointing=False)
    predictions = predict_examples(trainer, module, data, examples)
    if not trainer.is_global_zero:
        return None
    return Evaluation(predictions, score(predictions), trained.classes)


def _chosen_examples(options: EvaluateOptions, recorded: TrainOptions) -> tuple[Examples, list[str]]:
    """The images to score, labelled in the order of the class names that come with them."""
    data = options.data or str(recorded.data)
    if data not in NAMED_DATASETS and not _same_path(data, str(recorded.data)):
        listed = list_images(data)
        if options.split == "all" or options.split is None and not listed.is_split:
            parts, _ = listed.usable()
            return reduce(Examples.joined, parts.values()), listed.classes
    dataset = load_dataset(
        data,
        options.data_root or recorded.data_root,
        recorded.val_fraction,
        recorded.test_fraction,
        recorded.split_seed,
    )
    parts = {"test": dataset.test, "val": dataset.val, "train": dataset.train}
    if options.split == "all":
        return reduce(Examples.joined, parts.values()), dataset.classes
    return parts[options.split or "test"], dataset.classes


def _same_path(data: str, other: str) -> bool:
    return Path(data).resolve() == Path(other).resolve()


def with_labels_of(examples: Examples, found: list[str], known: list[str]) -> Examples:
    """The same images, labelled in the model's order of classes."""
    if unknown := sorted(set(found) - set(known)):
        raise UserError(f"The model does not know the class {unknown[0]!r} of the data; it knows {_some(known)}.")
    order = np.array([known.index(name) for name in found])
    return Examples(examples.images, order[examples.labels])


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
