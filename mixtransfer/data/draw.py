"""Drawing the parts that a data set does not have."""

from dataclasses import dataclass

import numpy as np

from mixtransfer.data.division import Division, Found, counted
from mixtransfer.data.groups import group_notes, settled_groups, units_of
from mixtransfer.data.splits import Fold, in_fold, set_aside
from mixtransfer.errors import UserError


@dataclass(frozen=True)
class Draw:
    """How to draw the parts that are missing; see ``set_aside``.

    Attributes:
        val_fraction: Share of every training class for validation.
        test_fraction: Share of every class for the test, where the data is not split.
        seed: Of these choices.
        fold: Such as "2/5": that fold of the data is the test part instead, where it is not split.
        group_by: See ``groups_by``.
    """

    val_fraction: float = 0.1
    test_fraction: float = 0.2
    seed: int = 0
    fold: str | None = None
    group_by: str | None = None

    def divide(self, found: Found) -> Division:
        """Settle which part each image is in.

        Raises:
            UserError: An option does not go with the data.
            TooFew: A class cannot be in every part.
        """
        names = found.names if found.files is not None else []
        groups = settled_groups(found.groups, self.group_by, names, found.source)
        notes = []
        units, parts = units_of(found.names, groups), found.given.copy()
        free = np.flatnonzero(~np.isin(parts, ("test", "val")))
        if self.fold and len(free) < len(parts):
            raise UserError(f"Folds are for data that is not split, and {found.source} has a test or validation part.")
        if "test" not in parts and (len(free) == len(parts) or found.has_unlabelled_test):
            parts[free], note = self._with_test([units[i] for i in free], found.labels[free])
            notes.append(note)
        if "test" not in parts:
            parts[parts == "val"] = "test"
            notes.append("There is no test part: val is used as the test part, and validation comes out of train.")
        if "val" not in parts:
            train = np.flatnonzero(parts == "train")
            chosen = set_aside(
                [units[i] for i in train],
                found.labels[train],
                self.val_fraction,
                self.seed,
                "validation",
                most=found.most_validation,
            )
            parts[train[chosen]] = "val"
        return Division(parts, np.arange(len(parts)), groups, [*notes, *group_notes(groups, parts)])

    def _with_test(self, units: list[str], labels: np.ndarray) -> tuple[np.ndarray, str]:
        """The parts "train" and "test" of data that is not split."""
        if self.fold:
            fold = Fold.parse(self.fold)
            tested, how = in_fold(units, labels, fold, self.seed), f"Fold {fold.number} of {fold.count}"
        else:
            # Two of each class stay at least, so that one can be validated on.
            tested = set_aside(units, labels, self.test_fraction, self.seed, "test", leave=2)
            how = "No split was given"
        note = (
            f"{how}: {tested.sum()} of {counted(len(tested))} were set aside as the test part (split seed {self.seed})."
        )
        return np.where(tested, "test", "train").astype(object), note
