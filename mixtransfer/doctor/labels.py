"""Labels that a trained network disagrees with, by confident learning (Northcutt et al., JAIR 2021; cleanlab).

Which of the two is wrong, a person must say: a weak network disagrees with many sound labels.
"""

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from mixtransfer.data.dataset import Examples
from mixtransfer.data.detection.dataset import Record
from mixtransfer.data.division import counted
from mixtransfer.data.names import real_place, same_data
from mixtransfer.doctor.finding import Example, Finding
from mixtransfer.doctor.listing import Listing
from mixtransfer.errors import UserError
from mixtransfer.runs.run import Run
from mixtransfer.runs.run_data import seen_in_training

BATCH_SIZE = 32
LIKELY = 0.5  # score from which on a detection is held against the boxes

UNSEEN = (
    "label_errors",
    "The network has not been trained on these images.",
)
SEEN = (
    "label_errors_trained_on",
    "The network was trained on these very labels and may have learnt wrong ones by heart: others may be wrong too.",
)
JUDGED_BY_OTHERS = (
    "Each image was judged by a head that was fitted without it, but on features that were trained on these labels and "
    "may know wrong ones by heart: others may be wrong too."
)


@dataclass(frozen=True)
class Suspect:
    """An image whose label the network disagrees with.

    Attributes:
        image: The file, or its pixels.
        text: What the label is, and what the network says.
    """

    image: Path | np.ndarray
    text: str


def label_findings(listing: Listing, run: Run, data: str, data_root: str, layout: str = "auto") -> list[Finding]:
    """Labels that the run's network disagrees with, worst first, apart for images that the run was trained on.

    Args:
        listing: The images, to name them by.
        run: Of the same task, and with all the classes of the data.
        data, data_root: Where the images are from.
        layout: How they are laid out there.

    Raises:
        UserError: cleanlab is missing, or the run or the data cannot be used.
    """
    _require_cleanlab()
    find = detection_suspects if listing.task == "detect" else classification_suspects
    position = {_key(image): i for i, image in enumerate(listing.images)}
    findings = []
    for kind, caution, suspects in find(run, data, data_root, layout):
        examples = []
        for suspect in suspects:
            if (i := position.get(_key(suspect.image))) is None:
                raise UserError(
                    f"{run.folder} was trained on {suspect.image}, which {data} does not list as it is read here: give "
                    "the --layout that it was trained with."
                )
            examples.append(Example(f"{listing.short(i)}: {suspect.text}", (i,)))
        if examples:
            what = f"The network disagrees with the labels of {counted(len(examples), 'image')}. {caution}"
            findings.append(Finding(kind, "warning", what, "Look at them: either may be wrong.", examples))
    return findings


Group = tuple[str, str, list[Suspect]]  # what to call it, a sentence on how far to trust it, and worst first


def classification_suspects(run: Run, data: str, data_root: str, layout: Any) -> list[Group]:
    """Images whose class the network disagrees with: unseen in training, and seen, these out of fold."""
    from torch import nn

    from mixtransfer.classification.datamodule import EvaluationData
    from mixtransfer.classification.evaluate import with_labels_of
    from mixtransfer.classification.head import choose_strength, pooled_features
    from mixtransfer.classification.kinds import AnyPredictions
    from mixtransfer.classification.model import open_classifier
    from mixtransfer.classification.module import ImageClassifier
    from mixtransfer.classification.multilabel import MultilabelPredictions
    from mixtransfer.classification.options import EvaluateOptions
    from mixtransfer.classification.recipe import Recipe
    from mixtransfer.classification.selection import deal
    from mixtransfer.classification.trainer import make_trainer, predict_examples
    from mixtransfer.data.load import load_dataset
    from mixtransfer.runs.run_data import images_of_run

    trained = open_classifier(run.folder)
    own = _is_of(run, data)
    dataset = images_of_run(run, data_root) if own else load_dataset(data, data_root, layout=layout)
    if dataset.is_multilabel != trained.multilabel:
        raise UserError(f"{run.folder} and {data} do not go together: images of one may have several labels.")
    trainer = make_trainer(EvaluateOptions(str(run.folder)), enable_checkpointing=False)
    recipe = Recipe(loss="bce") if trained.multilabel else None
    module = ImageClassifier(trained.model, trained.preprocessing, recipe)
    loaders = EvaluationData(trained.preprocessing, BATCH_SIZE)

    def group(kind: str, caution: str, examples: Examples, said: AnyPredictions) -> Group:
        if isinstance(said, MultilabelPredictions):
            return kind, caution, suspicious_labels(examples, said, trained.classes)
        right = 100 * (said.predicted == said.labels).mean() if len(said.labels) else 0
        suspects = [
            Suspect(
                examples.images[i],
                f"labelled {trained.classes[examples.labels[i]]}, looks like {trained.classes[said.predicted[i]]} "
                f"({100 * said.confidence[i]:.0f} %)",
            )
            for i in suspicious_classes(said.probabilities, examples.labels)
        ]
        return kind, f"It agrees with {right:.0f} % of {len(examples):,}. {caution}", suspects

    def unseen(examples: Examples) -> Group:
        examples = with_labels_of(examples, dataset.classes, trained.classes)
        return group(*UNSEEN, examples, predict_examples(trainer, module, loaders, examples))

    def seen(examples: Examples) -> Group:
        examples = with_labels_of(examples, dataset.classes, trained.classes)
        folds = deal(dataset.units, examples.labels)
        head = trained.model.get_classifier()  # type: ignore[operator]
        if folds.max() < 0 or not isinstance(head, nn.Linear):
            return group(*SEEN, examples, predict_examples(trainer, module, loaders, examples))
        features = pooled_features(
            module.model, module.normalize, loaders.evaluation_loader(examples), module.device, flip=False,
            title=f"Features of {len(examples)} images",
        )  # fmt: skip
        judged = choose_strength(features, folds).judged
        return group(SEEN[0], JUDGED_BY_OTHERS, examples.subset(np.flatnonzero(folds >= 0)), judged)

    if not own:
        every = reduce(Examples.joined, (dataset.train, dataset.val, dataset.test))
        return [unseen(every.subset(_not_trained_on(run, every.images)))]
    return [unseen(dataset.test.joined(dataset.new)), seen(dataset.train.joined(dataset.val))]


def suspicious_classes(probabilities: np.ndarray, labels: np.ndarray) -> list[int]:
    """Positions of the labels that are contradicted, worst first.

    Args:
        probabilities: Shape (n, classes).
        labels: Shape (n,).
    """
    from cleanlab.filter import find_label_issues

    if len(np.unique(labels)) < 2:
        return []
    found = find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    return [int(i) for i in found]


def detection_suspects(run: Run, data: str, data_root: str, layout: str) -> list[Group]:
    """Images whose boxes the network disagrees with: unseen in training, and seen."""
    from mixtransfer.common.device import choose_device
    from mixtransfer.data.detection.load import load_detection_dataset
    from mixtransfer.detection.evaluate import with_labels_of
    from mixtransfer.detection.inference import detect
    from mixtransfer.detection.mistakes import count_mistakes, judge
    from mixtransfer.detection.model import open_detector
    from mixtransfer.detection.thresholds import above
    from mixtransfer.runs.run_data import boxes_of_run

    trained = open_detector(run.folder)
    own = _is_of(run, data)
    dataset = boxes_of_run(run, data_root) if own else load_detection_dataset(data, data_root, layout=layout)
    model = trained.model.to(choose_device("auto"))
    meanings = {
        "class": "of another class",
        "background": "missing",
        "missed": "too many",
        "localization": "in a wrong place",
    }

    def suspects(records: list[Record]) -> list[Suspect]:
        records = with_labels_of(records, dataset, trained)
        found = detect(model, records, trained.spec.square, BATCH_SIZE, tiling=trained.spec.tiling)
        result = []
        for i in suspicious_boxes(records, found, len(trained.classes)):
            kinds = count_mistakes([judge(records[i], above(found[i], LIKELY))])
            words = [f"{count} {meanings[kind]}" for kind, count in kinds.items() if count and kind in meanings]
            result.append(Suspect(records[i].file, f"boxes perhaps {', '.join(words) or 'not quite right'}"))
        return result

    if not own:
        every = [*dataset.train, *dataset.val, *dataset.test]
        return [(*UNSEEN, suspects([every[i] for i in _not_trained_on(run, [record.file for record in every])]))]
    return [
        (*UNSEEN, suspects([*dataset.test, *dataset.new])),
        (*SEEN, suspects([*dataset.train, *dataset.val])),
    ]


def suspicious_boxes(records: Sequence[Record], found: Sequence, classes: int) -> list[int]:
    """Positions of the images whose boxes are contradicted, worst first.

    Args:
        records: The images.
        found: ``Detections`` in each.
        classes: Number of classes.
    """
    from cleanlab.object_detection.filter import find_label_issues
    from cleanlab.object_detection.rank import get_label_quality_scores

    labels, predictions = [], []
    for record, detections in zip(records, found, strict=True):
        boxes, own = record.targets
        labels.append({"bboxes": boxes, "labels": own, "image_name": record.file.name})
        scored = np.concatenate([detections.boxes, detections.scores[:, None]], axis=1)
        one = np.empty(classes, dtype=object)
        for label in range(classes):
            one[label] = scored[detections.labels == label]
        predictions.append(one)
    with contextlib.redirect_stdout(sys.stderr):  # it prints what it prunes
        wrong = np.flatnonzero(find_label_issues(labels, predictions))
        quality = get_label_quality_scores(labels, predictions, verbose=False)
    return wrong[np.argsort(quality[wrong], kind="stable")].tolist()


def _not_trained_on(run: Run, images: Sequence[Path] | np.ndarray) -> np.ndarray:
    """Positions of the images that the run was not trained or validated on."""
    return np.arange(len(images)) if isinstance(images, np.ndarray) else np.flatnonzero(~seen_in_training(run, images))


def suspicious_labels(examples: Examples, said: Any, classes: list[str]) -> list[Suspect]:
    """Images of which one of several labels seems to be wrong or to be missing, worst first, by cleanlab.

    Args:
        said: The ``MultilabelPredictions`` of these images.
    """
    from cleanlab.filter import find_label_issues

    told = [i for i, column in enumerate(said.labels.T) if 0 < column.sum() < len(column)]  # cleanlab wants both
    own, probabilities = said.labels[:, told], said.probabilities[:, told]
    if not told:
        return []
    how = {"return_indices_ranked_by": "self_confidence"}
    if len(told) == 1:
        order = find_label_issues(own[:, 0], np.concatenate([1 - probabilities, probabilities], axis=1), **how)
    else:
        lists = [np.flatnonzero(row).tolist() for row in own]
        order = find_label_issues(lists, probabilities, multi_label=True, **how)
    suspects = []
    for i in np.asarray(order).tolist():
        off = np.abs(said.probabilities[i] - said.labels[i])
        label = int(off.argmax())
        text = "is labelled" if said.labels[i, label] else "is not labelled"
        share = f"{100 * said.probabilities[i, label]:.0f} %"
        suspects.append(Suspect(examples.images[i], f"{text} {classes[label]}, which looks {share} probable"))
    return suspects


def _is_of(run: Run, data: str) -> bool:
    """Whether the run was trained on this data."""
    return same_data(data, str(run.read_config().get("data")))


def _key(image: Path | np.ndarray) -> object:
    return real_place(image) if isinstance(image, Path) else image.tobytes()


def _require_cleanlab() -> None:
    try:
        import cleanlab  # noqa: F401
    except ImportError:
        raise UserError(
            "Label errors are found by cleanlab, which is not installed: pip install 'mixtransfer[doctor]'."
        ) from None
