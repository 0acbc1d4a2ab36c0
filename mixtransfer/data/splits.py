"""Splitting labelled examples by class, always the same way for the same seed."""

from collections.abc import Sequence

import numpy as np

from mixtransfer.errors import UserError


def split_off(
    labels: np.ndarray, fraction: float, seed: int, classes: Sequence[str], what: str
) -> tuple[np.ndarray, np.ndarray]:
    """Set aside a part of every class.

    Args:
        labels: Integer class of every example, shape (n,).
        fraction: The share of every class to set aside; at least one example of each, and never all.
        seed: Seed of the choice.
        classes: Class names, for the error.
        what: What the part is for ("validation", "test"), for the error.

    Returns:
        Sorted positions of (what stays, what is set aside).

    Raises:
        UserError: A class has a single example, so that one part would lack it.
    """
    if not 0 < fraction < 1:
        raise UserError(f"The {what} fraction is {fraction}; it must lie between 0 and 1.")
    generator = np.random.default_rng(seed)
    stays, aside = [], []
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        if len(members) < 2:
            raise UserError(
                f"Class {classes[label]!r} has too few images ({len(members)}) to set a {what} part aside: "
                "add images to it or take the class out."
            )
        count = min(max(1, round(len(members) * fraction)), len(members) - 1)
        aside.append(members[:count])
        stays.append(members[count:])
    return np.sort(np.concatenate(stays)), np.sort(np.concatenate(aside))
