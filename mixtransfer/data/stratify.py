"""Dealing images with several labels over folds, each label evenly."""

import numpy as np


def deal_labels(unit: np.ndarray, labels: np.ndarray, folds: int, order: np.ndarray) -> np.ndarray:
    """Iterative stratification (Sechidis, Tsoumakas & Vlahavas, ECML PKDD 2011), of units that stay whole.

    The rarest label that is left is dealt first, each unit of it to the fold that lacks it most.

    Args:
        unit: The number of each image's unit, from 0; shape (n,).
        labels: Shape (n, classes), of 0 and 1.
        folds: How many.
        order: Of each unit its place among those that are dealt otherwise alike; shape (units,).

    Returns:
        The fold of each image, shape (n,).
    """
    units = len(order)
    sizes = np.bincount(unit, minlength=units).astype(float)
    held = np.zeros((units, labels.shape[1]))
    np.add.at(held, unit, labels)
    room = np.full(folds, sizes.sum() / folds)
    wanted = np.repeat(held.sum(axis=0, keepdims=True) / folds, folds, axis=0)
    dealt = np.full(units, -1)

    def deal(one: int, label: int | None) -> None:
        best = np.arange(folds)
        for lack in ([] if label is None else [wanted[:, label]]) + [room]:
            best = best[lack[best] >= lack[best].max() - 1e-9]
        dealt[one] = best[0]
        wanted[best[0]] -= held[one]
        room[best[0]] -= sizes[one]

    left = held.sum(axis=0)
    while (left > 0).any():
        label = int(np.where(left > 0, left, np.inf).argmin())
        own = np.flatnonzero((dealt < 0) & (held[:, label] > 0))
        for one in own[np.lexsort((order[own], -held[own, label]))]:
            deal(one, label)
        left -= held[own].sum(axis=0)
    free = np.flatnonzero(dealt < 0)
    for one in free[np.lexsort((order[free], -sizes[free]))]:
        deal(one, None)
    return dealt[unit]
