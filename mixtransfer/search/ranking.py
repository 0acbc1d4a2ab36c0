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


def reliability(halves: Sequence[tuple[float, float]]) -> float | None:
    """Split-half reliability of the ranking among the better half of the networks.

    Spearman's rank correlation of their losses on two halves of the images, as the Spearman–Brown formula extends it
    to all images: 1 if another set of images would rank alike, 0 if the ranking is chance. The better half, because it
    is among those that a search chooses; that some networks are bad is easily seen.

    Returns:
        None if there are too few networks.
    """
    losses = np.array(halves)
    better = losses[losses.sum(1) <= np.median(losses.sum(1))] if len(losses) else losses
    if len(better) < FEWEST // 2:
        return None
    rho = rank_correlation(*better.T)
    return None if rho is None else max(0.0, 2 * rho / (1 + rho))


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
