"""What several trainings of one classifier for several labels an image got on the test set; see ``Outcome``."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from mixtransfer.classification.answers import LabelAnswers, read_label_answers
from mixtransfer.classification.metrics import Estimate
from mixtransfer.classification.multilabel import mean_average_precision, resampled_precision
from mixtransfer.comparison.outcomes import Place
from mixtransfer.comparison.statistics import McNemar, Resampled, Uncertain
from mixtransfer.errors import UserError
from mixtransfer.runs.run import Run


@dataclass(frozen=True)
class MultilabelOutcome:
    """See ``Outcome``; the score is the mean average precision over labels.

    Attributes:
        answers: Of each training, the images in the order of their names.
        source: A run, for errors.
    """

    answers: list[LabelAnswers]
    source: Path = Path()

    @classmethod
    def of(cls, runs: Sequence[Run]) -> "MultilabelOutcome":
        """Read the answers of trained runs.

        Raises:
            UserError: One is missing or damaged, was tested on a fold of the data, or the runs were tested on different
                images or labels.
        """
        for run in runs:
            if Place.of(run).folds:
                raise UserError(f"{run.folder} was tested on a fold: folds are for one class an image.")
        read = [cls([_in_order(read_label_answers(run.test_predictions))], run.folder) for run in runs]
        for one in read:
            read[0].check_same(one)
        return cls([answers for one in read for answers in one.answers], read[0].source)

    @property
    def seeds(self) -> int:
        return len(self.answers)

    @property
    def images(self) -> int:
        return len(self.answers[0].images)

    @property
    def covers(self) -> tuple[str, ...]:
        return ("images", "trainings") if self.seeds > 1 else ("images",)

    @cached_property
    def _resampled(self) -> Resampled:
        said = [one.predictions for one in self.answers]
        values = np.array([mean_average_precision(one) for one in said])
        return Resampled(values, np.stack([resampled_precision(one) for one in said]), self.images)

    def score(self) -> Estimate:
        return self._resampled.mean.estimate

    def by_seed(self) -> list[float]:
        return [float(value) for value in self._resampled.by_seed]

    def less(self, other: "MultilabelOutcome") -> Uncertain:
        return self._resampled.less(other._resampled)

    def mcnemar(self, other: "MultilabelOutcome") -> list[McNemar]:
        return []

    def check_same(self, other: "MultilabelOutcome") -> None:
        mine, yours = self.answers[0], other.answers[0]
        if mine.classes != yours.classes:
            reason = "their labels differ"
        elif mine.images != yours.images or not np.array_equal(mine.predictions.labels, yours.predictions.labels):
            reason = "their test images, or what these show, differ"
        else:
            return
        raise UserError(f"{self.source} and {other.source} cannot be compared: {reason}.")


def _in_order(answers: LabelAnswers) -> LabelAnswers:
    """The same with the images in the order of their names, and of what they show."""
    said = answers.predictions
    shown = [row.tobytes() for row in said.labels]
    order = sorted(range(len(answers.images)), key=lambda i: (answers.images[i], shown[i]))
    chosen = type(said)(said.probabilities[order], said.labels[order])
    return LabelAnswers([answers.images[i] for i in order], answers.classes, chosen)
