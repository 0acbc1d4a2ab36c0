"""``test_predictions.csv`` of a Run: what the model answered to each test image, for people and for comparisons."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mixtransfer.classification.metrics import Predictions
from mixtransfer.data.dataset import Examples
from mixtransfer.errors import UserError
from mixtransfer.files import write_atomic

COLUMNS = ("image", "class", "predicted", "confidence")


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


def write_answers(path: Path, predictions: Predictions, examples: Examples, classes: list[str]) -> None:
    """Write the predictions for ``examples``, a row an image."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    rows = zip(predictions.labels, predictions.predicted, predictions.confidence, strict=True)
    for i, (label, predicted, confidence) in enumerate(rows):
        writer.writerow([examples.name(i), classes[label], classes[predicted], f"{confidence:.4f}"])
    write_atomic(path, text.getvalue())


def read_answers(path: Path) -> Answers:
    """Read what ``write_answers`` wrote.

    Raises:
        UserError: It is missing or damaged.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
    except FileNotFoundError:
        raise UserError(f"{path.parent} has not been tested yet: {path.name} is missing.") from None
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path} cannot be read ({type(error).__name__}).") from error
    if tuple(header) != COLUMNS or not rows or any(len(row) != len(COLUMNS) for row in rows):
        raise UserError(f"{path} is damaged: it should have the columns {', '.join(COLUMNS)}.")
    images, names, predicted, _ = map(list, zip(*rows, strict=True))
    return Answers(images, names, predicted)
