"""How sure one can be of an accuracy, and of a difference between two, from a few seeds and a finite test set.

Results are matrices of shape (seeds, images): what each training got on each test image. Two things vary: another test
set would have other images, and another seed another network. Their variances add; each is estimated from the means
over the other (so the little that belongs to both is counted twice, which errs on the wide side), and the degrees of
freedom are Satterthwaite's (Biometrics Bulletin 1946). With one seed the second part is unknown and left out.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from mixtransfer.classification.metrics import Estimate, proportion


@dataclass(frozen=True)
class McNemar:
    """Which of two networks is right where the other is wrong, and how likely that would be of equals.

    Attributes:
        only_first: Images that only the first gets right.
        only_second: Images that only the second gets right.
        p: The exact two-sided probability (McNemar, Psychometrika 1947).
    """

    only_first: int
    only_second: int
    p: float


def mcnemar(first: np.ndarray, second: np.ndarray) -> McNemar:
    """McNemar's exact test on hits of the same images, bool, shape (images,).

    Examples:
        >>> mcnemar(np.array([True] * 8 + [False] * 2), np.array([True] * 3 + [False] * 7))
        McNemar(only_first=5, only_second=0, p=0.0625)
    """
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    return McNemar(b, c, float(stats.binomtest(b, b + c).pvalue) if b + c else 1.0)


def mean_accuracy(hits: np.ndarray) -> Estimate:
    """The accuracy over seeds and images with its 95 % interval.

    Args:
        hits: Whether each seed's network was right, bool, shape (seeds, images). With one seed the interval is
            Wilson's and speaks of the test images only.
    """
    if len(hits) == 1:
        return proportion(hits[0])
    # Two imagined images that are right and two that are not (Agresti & Coull, The American Statistician 1998) keep
    # the interval from vanishing at 0 and 1.
    low, high = _interval(hits.astype(float), imagined={1.0: 2.0, 0.0: 2.0})
    value = float(hits.mean())
    return Estimate(value, max(0.0, min(low, value)), min(1.0, max(high, value)))


def paired_difference(first: np.ndarray, second: np.ndarray) -> Estimate:
    """The first's accuracy less the second's on the same images, with its 95 % interval.

    Args:
        first, second: Hits, bool, shape (seeds, images); row i of both was trained with the same seed.
    """
    differences = first.astype(float) - second.astype(float)
    # Half an imagined image in each cell of the 2×2 table (Agresti & Min, Statistics in Medicine 2005).
    low, high = _interval(differences, imagined={1.0: 0.5, -1.0: 0.5, 0.0: 1.0})
    value = float(differences.mean())
    return Estimate(value, max(-1.0, min(low, value)), min(1.0, max(high, value)))


def _interval(values: np.ndarray, imagined: dict[float, float]) -> tuple[float, float]:
    """The 95 % interval of the mean over seeds and images, shape (seeds, images).

    Args:
        imagined: Values of further images with their weights, against intervals of no width.
    """
    seeds, images = values.shape
    by_image = np.concatenate([values.mean(axis=0), list(imagined)])
    weight = np.concatenate([np.ones(images), list(imagined.values())])
    total = weight.sum()
    mean = (weight * by_image).sum() / total
    of_images = (weight * (by_image - mean) ** 2).sum() / total**2
    low, high = _around(mean, of_images, images, values.mean(axis=1))
    return float(low), float(high)


def combined_interval(by_seed: np.ndarray, of_images: float, images: int, bounds: tuple[float, float]) -> Estimate:
    """The 95 % interval of the mean of a score that is no mean over images, such as average precision.

    Args:
        by_seed: The score of each seed, shape (seeds,).
        of_images: Variance of their mean over other test sets, as a bootstrap over images estimates it.
        images: Number of test images.
        bounds: The smallest and the largest value that the score can have.
    """
    value = float(by_seed.mean())
    low, high = _around(value, of_images, images, by_seed)
    return Estimate(value, float(max(low, bounds[0])), float(min(high, bounds[1])))


def _around(mean: float, of_images: float, images: int, by_seed: np.ndarray) -> tuple[float, float]:
    seeds = len(by_seed)
    of_seeds = by_seed.var(ddof=1) / seeds if seeds > 1 else 0.0
    variance = of_images + of_seeds
    if variance == 0:
        return mean, mean
    freedom = variance**2 / (of_images**2 / max(images - 1, 1) + of_seeds**2 / max(seeds - 1, 1))
    reach = stats.t.ppf(0.975, freedom) * variance**0.5
    return mean - reach, mean + reach
