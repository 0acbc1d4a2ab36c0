"""What networks said of images that they were not trained on, kept so that a choice outlives an interrupt."""

import io
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mixtransfer.classification.kinds import AnyPredictions, predictions_of
from mixtransfer.classification.selection import HEAD
from mixtransfer.common.files import write_atomic
from mixtransfer.errors import UserError


@dataclass
class Evidence:
    """Out-of-fold predictions on n images to train and, after them, to validate on, by share of the fine-tuned weights.

    Attributes:
        labels: Of each image; see ``mixtransfer.data.labels``.
        folds: Fold of each, shape (n,); −1 of those that nobody judges.
        probabilities: By share, shape (n, classes), rows of images that were not judged yet are NaN. Share 0 is the
            head on frozen features.
        validated: How many images to validate on there are among them.
        seconds: What the trainings took that judged.
    """

    labels: np.ndarray
    folds: np.ndarray
    probabilities: dict[float, np.ndarray] = field(default_factory=dict)
    validated: int = 0
    seconds: float = 0.0

    def add(self, share: float, predictions: AnyPredictions, fold: int | None = None) -> None:
        """Keep what was said of the images of one fold, or of all that are judged, in their order."""
        shape = len(self.labels), predictions.classes
        rows = self.probabilities.setdefault(share, np.full(shape, np.nan, dtype=np.float32))
        rows[self.folds >= 0 if fold is None else self.folds == fold] = predictions.probabilities

    def has(self, share: float, fold: int) -> bool:
        return share in self.probabilities and bool(np.isfinite(self.probabilities[share][self.folds == fold]).all())

    @property
    def is_of_fine_tuning(self) -> bool:
        """Whether all trainings that judge fine-tuning are done."""
        shares = self.probabilities.keys() - {HEAD}
        return bool(shares) and all(self.has(share, fold) for share in shares for fold in self.numbers)

    def is_like(self, other: "Evidence") -> bool:
        """Whether it is on the same images in the same folds."""
        return np.array_equal(self.labels, other.labels) and np.array_equal(self.folds, other.folds)

    @property
    def numbers(self) -> list[int]:
        """Of the folds that are judged."""
        return sorted(set(self.folds[self.folds >= 0].tolist()))

    @property
    def predictions(self) -> dict[float, AnyPredictions]:
        """Of all judged images, by share."""
        return self._of(self.folds >= 0)

    @property
    def validation(self) -> dict[float, AnyPredictions]:
        """Of the judged images to validate on, by share."""
        return self._of((self.folds >= 0) & (np.arange(len(self.labels)) >= len(self.labels) - self.validated))

    def _of(self, judged: np.ndarray) -> dict[float, AnyPredictions]:
        return {share: predictions_of(rows[judged], self.labels[judged]) for share, rows in self.probabilities.items()}

    def write(self, path: Path) -> None:
        file = io.BytesIO()
        shares = np.array(list(self.probabilities))
        np.savez(
            file,
            labels=self.labels,
            folds=self.folds,
            shares=shares,
            validated=self.validated,
            seconds=self.seconds,
            probabilities=np.array(list(self.probabilities.values())),
        )
        write_atomic(path, file.getvalue())

    @classmethod
    def read(cls, path: Path) -> "Evidence":
        """Read what ``write`` wrote.

        Raises:
            UserError: It is missing or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as kept:
                labels, folds, shares, probabilities = (
                    kept[name] for name in ("labels", "folds", "shares", "probabilities")
                )
                validated, seconds = int(kept["validated"]), float(kept["seconds"])
            if not len(labels) == len(folds) == probabilities.shape[1] or len(shares) != len(probabilities):
                raise ValueError
            return cls(labels, folds, dict(zip(shares.tolist(), probabilities, strict=True)), validated, seconds)
        except (OSError, ValueError, KeyError, IndexError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f"{path} is missing or damaged: train anew.") from error
