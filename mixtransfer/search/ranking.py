"""How far the ranking of networks can be trusted, and what it says of networks that were not scored."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from mixtransfer.backbones.architecture import Block
from mixtransfer.search.space import Decisions, Space

FEWEST = 20  # scored networks, for a rank correlation or a predictor
FOLDS = 5
RELIABLE = 0.5  # of the ranking among the better half: below, more of it is chance than is the networks'


def reliability(thirds: Sequence[tuple[float, float, float]]) -> float | None:
    """How much of the ranking among the better half of the networks another set of images would repeat.

    Among the better half, because it is from those that a search chooses; that some networks are bad is easily seen.
    They are chosen by the losses on a third of the images, and ranked by those on each of the other two: of one that
    had chosen, the correlation would be too low. Spearman's rank correlation of these is extended to all images by the
    Spearman–Brown formula.

    Returns:
        1 if another set of images would rank alike, 0 if the ranking is chance; None if there are too few networks, or
        an empty third.
    """
    if len(thirds) < FEWEST or not np.isfinite(thirds).all():
        return None
    first, second, third = np.array(thirds).T
    better = third <= np.median(third)
    rho = rank_correlation(first[better], second[better])
    return None if rho is None else max(0.0, 3 * rho / (1 + 2 * max(0.0, rho)))


def rank_correlation(some: Sequence[float], others: Sequence[float]) -> float | None:
    """Spearman's rank correlation; None of constants."""
    rho = float(spearmanr(some, others).statistic) if np.ptp(some) and np.ptp(others) else np.nan
    return rho if np.isfinite(rho) else None


class Predictor:
    """Says the log loss of any network of a space from its decisions, by those that were scored.

    A ridge regression on widths, depths, and of each block the expansion, squeeze-excite and mean kernel.

    Attributes:
        rho: Rank correlation of what it says of networks that it was not fitted on with their scores; None if it
            knows nothing.
    """

    def __init__(self, space: Space, decisions: Sequence[Decisions], losses: Sequence[float]):
        from sklearn.linear_model import RidgeCV
        from sklearn.model_selection import KFold, cross_val_predict
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        self.space = space
        self.model: Any = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 13)))
        features = np.array([features_of(space, one) for one in decisions])
        folds = KFold(FOLDS, shuffle=True, random_state=0)
        self.rho = rank_correlation(cross_val_predict(self.model, features, losses, cv=folds), losses)
        self.model.fit(features, losses)

    def __call__(self, decisions: Sequence[Decisions]) -> np.ndarray:
        """Log losses, shape (n,)."""
        return self.model.predict(np.array([features_of(self.space, one) for one in decisions]))


def features_of(space: Space, decisions: Decisions) -> list[float]:
    """Numbers that describe a network; those of a block that it leaves out are 0."""
    found: list[float] = []
    for i, stage in enumerate(space.stages, 1):
        depth = decisions[f"stage{i}.depth"]
        found += [decisions[f"stage{i}.channels"], depth]
        for j in range(len(stage.frames)):
            block = Block.parse(f"ir_r1_s1_c8_{decisions[f'stage{i}.block{j}']}")
            found += [block.expand, block.se, float(np.mean(block.kernels))] if j < depth else [0.0, 0.0, 0.0]
    return found
