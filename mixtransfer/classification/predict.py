"""`classify predict`: classes of images, as they come."""

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from mixtransfer.answers import Classification
from mixtransfer.backbones.fuse import for_inference
from mixtransfer.classification.explain import ClassMaps, Explanation
from mixtransfer.classification.known import WithKnown
from mixtransfer.classification.model import open_classifier
from mixtransfer.classification.options import PredictOptions
from mixtransfer.common.device import choose_device
from mixtransfer.common.files import Copies
from mixtransfer.common.ranges import AT_LEAST_0, AT_LEAST_1, check_ranges
from mixtransfer.data.images import find_images, load_image
from mixtransfer.data.loading import default_workers, one_thread
from mixtransfer.data.preprocessing import Normalize, Preprocessing
from mixtransfer.errors import UserError


@dataclass(frozen=True)
class Prediction:
    """What the model says of one image.

    Attributes:
        path: The file.
        top: (class, probability) pairs, most probable first, see ``Classification.shown``; empty if the image cannot be
            used.
        labels: Of a model for several labels those that the image is said to have; else None.
        error: Why it cannot be used, or None.
        known, unknown: See ``mixtransfer.answers.Classification``.
        explained: The picture that shows where the most probable class was read from, if that was asked for.
    """

    path: Path
    top: list[tuple[str, float]]
    error: str | None = None
    known: float | None = None
    unknown: bool = False
    explained: Path | None = None
    labels: list[str] | None = None


class Classifier(Protocol):
    """What classifies: a run's network, or an exported file.

    Attributes:
        tells_known: Whether it says how known images look.
        thresholds: Of several labels an image the thresholds, float32 (classes,); None of one class.
        maps: What tells where a class is read from; None of exported files.
    """

    classes: list[str]
    preprocessing: Preprocessing
    tells_known: bool
    thresholds: np.ndarray | None
    maps: ClassMaps | None

    def classify(self, views: np.ndarray) -> list[Classification]:
        """What it says of central views, uint8 (n, size, size, 3)."""


def classifications(
    classes: list[str], probabilities: np.ndarray, known: np.ndarray | None, thresholds: np.ndarray | None = None
) -> list[Classification]:
    """Answers of probabilities (n, classes) and, where there are such, shares (n,) and thresholds (classes,)."""
    shares = [None] * len(probabilities) if known is None else known.tolist()
    return [Classification(classes, *answer, thresholds) for answer in zip(probabilities, shares, strict=True)]


class RunClassifier:
    """A run's network, ready for images; a ``Classifier`` whose ``maps`` tell where a class is read from.

    Raises:
        UserError: The run or the device cannot be used.
    """

    def __init__(self, run: str, device: str = "auto"):
        trained = open_classifier(run)
        self.device = choose_device(device)
        model = for_inference(trained.model, self.device)
        self.tells_known = trained.known is not None
        self.model = WithKnown(model, trained.known.to(self.device)) if trained.known else model
        self.normalize = Normalize(trained.preprocessing).to(self.device)
        self.maps: ClassMaps | None = ClassMaps(model, trained.preprocessing)
        self.classes, self.preprocessing = trained.classes, trained.preprocessing
        self.thresholds = None if trained.thresholds is None else trained.thresholds.astype(np.float32)

    @torch.inference_mode()
    def classify(self, views: np.ndarray) -> list[Classification]:
        images = torch.from_numpy(views).permute(0, 3, 1, 2).to(self.device)
        answer = self.model(self.normalize(images))
        logits, known = answer if self.tells_known else (answer, None)
        logits = logits.float()
        probabilities = (logits.softmax(dim=1) if self.thresholds is None else logits.sigmoid()).cpu().numpy()
        shares = None if known is None else known.cpu().numpy()
        return classifications(self.classes, probabilities, shares, self.thresholds)


def predict(options: PredictOptions, classifier: Classifier | None = None) -> Iterator[Prediction]:
    """Classify images, batch by batch; unusable files come out with their reason.

    Args:
        classifier: In place of the run that the options name.

    Raises:
        UserError: The run cannot be used, or a pattern matches nothing.
    """
    check_ranges(options, top=AT_LEAST_1, batch_size=AT_LEAST_1, workers=AT_LEAST_0)
    classifier = classifier or RunClassifier(options.run, options.device)
    if options.unknown and not classifier.tells_known:
        raise UserError(
            f"{options.run} keeps no measure of how known images look: train it anew by `classify train`, with a "
            "network that has a linear head, or export it with --known."
        )
    if options.explain is not None and classifier.maps is None:
        raise UserError(
            f"--explain is for runs; the network of {options.run}, an exported file, cannot be looked into."
        )
    paths = find_images(options.images)
    copies = Copies(options.explain, "--explain") if options.explain is not None else None
    loader = DataLoader(
        _Files(paths, classifier.preprocessing),
        batch_size=options.batch_size,
        num_workers=min(default_workers() if options.workers is None else options.workers, len(paths) - 1),
        collate_fn=list,
        worker_init_fn=one_thread,
    )
    done = 0
    for views in loader:
        here = paths[done : done + len(views)]
        done += len(views)
        usable = [view for view in views if isinstance(view, np.ndarray)]
        if usable:
            said = classifier.classify(np.stack(usable))
            answers, maps = iter(said), iter(_explained(classifier, np.stack(usable), said) if copies else [])
        for path, view in zip(here, views, strict=True):
            if isinstance(view, str):
                yield Prediction(path, [], view)
            else:
                answer = next(answers)
                explained = None
                if copies:
                    explained = copies.path(path, ".jpg")
                    next(maps).drawn().save(explained, quality=92)
                labels = None if answer.thresholds is None else answer.labels
                yield Prediction(path, answer.shown(options.top), None, answer.known, answer.unknown, explained, labels)


def _explained(classifier: Classifier, views: np.ndarray, answers: list[Classification]) -> list[Explanation]:
    """Where the most probable class of each view is read from.

    Raises:
        UserError: The network does not answer by a map of the image.
    """
    assert classifier.maps
    labels = [int(answer.probabilities.argmax()) for answer in answers]
    return classifier.maps.explain(views, labels, classifier.classes)


def print_predictions(
    predictions: Iterator[Prediction], form: str, unknown: bool = False, multilabel: bool = False
) -> int:
    """Print predictions as they come; unusable files are named on the error stream.

    Args:
        form: "table", "json" (one object a line) or "csv" (one row an image and class).
        unknown: Whether to say which images look unknown.
        multilabel: Whether an image may have several labels; CSV then has 1 in the column label of those that it has.

    Returns:
        The number of images that were classified.
    """
    classified = 0
    writer = csv.writer(sys.stdout, lineterminator="\n")
    if form == "csv":
        several = ["label"] if multilabel else []
        writer.writerow(["path", "rank", "class", "probability", *several, *(["known", "unknown"] if unknown else [])])
    for prediction in predictions:
        if prediction.error:
            print(f"Left out: {prediction.path} {prediction.error}.", file=sys.stderr)
        classified += not prediction.error
        said = None if prediction.labels is None else set(prediction.labels)
        if form == "json":
            answer: dict[str, object] = {"path": str(prediction.path)}
            if prediction.error:
                answer["error"] = prediction.error
            else:
                if prediction.labels is not None:
                    answer["labels"] = prediction.labels
                answer["top"] = [{"class": name, "probability": round(p, 6)} for name, p in prediction.top]
                if prediction.known is not None:
                    answer["known"] = round(prediction.known, 4)
                if prediction.explained:
                    answer["explained"] = str(prediction.explained)
                if unknown:
                    answer["unknown"] = prediction.unknown
            print(json.dumps(answer, ensure_ascii=False), flush=True)
        elif form == "csv":
            known: list[object] = []
            if unknown and prediction.known is not None:
                known = [f"{prediction.known:.4f}", int(prediction.unknown)]
            writer.writerows(
                [prediction.path, i + 1, name, f"{p:.6f}", *([] if said is None else [int(name in said)]), *known]
                for i, (name, p) in enumerate(prediction.top)
            )
            sys.stdout.flush()
        elif not prediction.error:
            shown = [(name, p) for name, p in prediction.top if said is None or name in said]
            listed = ", ".join(f"{name} {100 * p:.1f} %" for name, p in shown) or "none of the labels"
            if unknown and prediction.unknown:
                listed = f"unknown (as if it were {listed})"
            print(f"{prediction.path}  {listed}", flush=True)
    return classified


class _Files(Dataset):
    """Views of files; an unusable file gives its reason instead."""

    def __init__(self, paths: Sequence[Path], preprocessing: Preprocessing):
        self.paths, self.preprocessing = paths, preprocessing

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray | str:
        try:
            return self.preprocessing.central_view(load_image(self.paths[index], self.preprocessing.min_side))
        except ValueError as error:
            return str(error)
