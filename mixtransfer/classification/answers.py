"""``test_predictions.csv`` of a Run: what the model answered to each test image, for people and for comparisons."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mixtransfer.classification.kinds import AnyPredictions
from mixtransfer.classification.multilabel import MultilabelPredictions
from mixtransfer.common.files import write_atomic
from mixtransfer.data.dataset import Examples
from mixtransfer.data.labels import indicators, label_names, names_in
from mixtransfer.errors import UserError

COLUMNS = ("image", "class", "predicted", "confidence")
SEVERAL = ("image", "labels", "predicted")  # with a ; between, and then the probability of each class


@dataclass(frozen=True)
class Answers:
    """The file's columns but the last, in the order of the test set.

    Attributes:
        images: Folder and file of each image, or its position.
        classes: Its true class.
        predicted: The class that was answered.
    """

    images: list[str]
    classes: list[str]
    predicted: list[str]

    @property
    def hits(self) -> np.ndarray:
        """Whether each answer is right, bool, shape (images,)."""
        return np.array(self.classes) == np.array(self.predicted)


@dataclass(frozen=True)
class LabelAnswers:
    """The file of a model for several labels, in the order of the test set.

    Attributes:
        images: Folder and file of each image, or its position.
        classes: In the order of the columns.
        predictions: What is said of them.
    """

    images: list[str]
    classes: list[str]
    predictions: MultilabelPredictions


def write_answers(path: Path, predictions: AnyPredictions, examples: Examples, classes: list[str]) -> None:
    """Write the predictions for ``examples``, a row an image."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if isinstance(predictions, MultilabelPredictions):
        writer.writerow([*SEVERAL, *classes])
        true, said = (label_names(labels, classes) for labels in (predictions.labels, predictions.said))
        for i, row in enumerate(predictions.probabilities):
            writer.writerow([examples.name(i), true[i], said[i], *(f"{value:.6g}" for value in row)])
        write_atomic(path, text.getvalue())
        return
    writer.writerow(COLUMNS)
    rows = zip(predictions.labels, predictions.predicted, predictions.confidence, strict=True)
    for i, (label, predicted, confidence) in enumerate(rows):
        writer.writerow([examples.name(i), classes[label], classes[predicted], f"{confidence:.4f}"])
    write_atomic(path, text.getvalue())


def read_answers(path: Path) -> Answers:
    """Read what ``write_answers`` wrote of one class an image.

    Raises:
        UserError: It is missing or damaged.
    """
    header, rows = _read(path)
    if tuple(header) != COLUMNS or not rows or any(len(row) != len(COLUMNS) for row in rows):
        raise UserError(f"{path} is damaged: it should have the columns {', '.join(COLUMNS)}.")
    images, names, predicted, _ = map(list, zip(*rows, strict=True))
    return Answers(images, names, predicted)


def read_label_answers(path: Path) -> LabelAnswers:
    """Read what ``write_answers`` wrote of several labels an image; the thresholds are not in it.

    Raises:
        UserError: It is missing or damaged.
    """
    header, rows = _read(path)
    classes = header[len(SEVERAL) :]
    try:
        if tuple(header[: len(SEVERAL)]) != SEVERAL or not rows or not classes:
            raise ValueError
        if any(len(row) != len(header) for row in rows):
            raise ValueError
        labels = indicators([names_in(row[1], multilabel=True) for row in rows], classes)
        probabilities = np.array([row[len(SEVERAL) :] for row in rows], dtype=np.float64)
        if not ((probabilities >= 0) & (probabilities <= 1)).all():
            raise ValueError
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{path} is damaged: it should have the columns {', '.join(SEVERAL)} and a probability of each class."
        ) from error
    return LabelAnswers([row[0] for row in rows], classes, MultilabelPredictions(probabilities, labels))


def _read(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
    except FileNotFoundError:
        raise UserError(f"{path.parent} has not been tested yet: {path.name} is missing.") from None
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path} cannot be read ({type(error).__name__}).") from error
    return header, rows
