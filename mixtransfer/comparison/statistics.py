"""How sure one can be of an accuracy, and of a difference between two, from a few trainings and a finite test set.

Results are matrices of shape (seeds, images): what each training got on each test image. Two things vary: another test
set would have other images, and another seed another network. The variance of each is estimated apart, and the
interval combines their own intervals (Howe, JASA 1974): its square is the sum of (quantile of t)² × variance. Adding
the variances first and taking Satterthwaite's degrees of freedom covers less than it says with two or three seeds.

Folds vary a third thing, what is trained on. Their interval is Student's with Nadeau and Bengio's correction for
training sets that overlap (Machine Learning 2003), over the folds of all seeds (Bouckaert and Frank, PAKDD 2004).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.optimize import brentq
from scipy.special import stdtrit

from mixtransfer.classification.metrics import Estimate, proportion

LEAST_P = 1e-12  # probabilities are not told apart below


@dataclass(frozen=True)
class Part:
    """A variance with its degrees of freedom."""

    variance: float
    freedom: float


@dataclass(frozen=True)
class Uncertain:
    """A score, or the difference of two, with what is known of its variation.

    Attributes:
        value: As measured.
        middle: Of its intervals.
        ways: Sums of independent variances; of several ways the one with the widest interval holds.
        bounds: The smallest and the largest value that there can be.
    """

    value: float
    middle: float
    ways: tuple[tuple[Part, ...], ...]
    bounds: tuple[float, float]

    def reach(self, p: float = 0.05) -> float:
        """Half the width of the interval that leaves out the truth with probability ``p``."""
        sums = [sum(stdtrit(part.freedom, p / 2) ** 2 * part.variance for part in way) for way in self.ways]
        return float(max(sums)) ** 0.5

    def p(self, truth: float = 0.0) -> float:
        """The two-sided probability of a distance like this one from ``truth``: whose interval ends just there."""
        distance = abs(self.middle - truth)

        def excess(log_p: float) -> float:
            return self.reach(float(np.exp(log_p))) - distance

        if distance == 0 or excess(0.0) >= 0:
            return 1.0
        lowest = float(np.log(LEAST_P))
        return LEAST_P if excess(lowest) <= 0 else float(np.exp(brentq(excess, lowest, 0.0, xtol=1e-6)))

    def p_beyond(self, margin: float) -> float:
        """The probability of a difference as small as this one if the true one were ``margin`` or more either way.

        Two one-sided tests (Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 1987).
        """
        if abs(self.middle) >= margin:
            return 1.0
        return max(self.p(margin), self.p(-margin)) / 2

    @property
    def low(self) -> float:
        """The lower end of the 95 % interval."""
        return float(np.clip(self.middle - self.reach(), self.bounds[0], self.value))

    @property
    def high(self) -> float:
        """The upper end of the 95 % interval."""
        return float(np.clip(self.middle + self.reach(), self.value, self.bounds[1]))

    @property
    def estimate(self) -> Estimate:
        """With its 95 % interval."""
        return Estimate(self.value, self.low, self.high)


@dataclass(frozen=True)
class McNemar:
    """Which of two networks is right where the other is wrong, and how likely that would be of equals.

    It is about these two networks on other images. It knows nothing of how another training would have ended.

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


def holm(p: Sequence[float]) -> list[float]:
    """Probabilities adjusted for their number (Holm, Scandinavian Journal of Statistics 1979).

    Examples:
        >>> holm([0.03, 0.01, 0.4])
        [0.06, 0.03, 0.4]
    """
    adjusted = [0.0] * len(p)
    largest = 0.0
    for place, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, min(1.0, (len(p) - place) * p[i]))
        adjusted[i] = largest
    return adjusted


def mean_accuracy(hits: np.ndarray, folds: np.ndarray | None = None) -> Estimate:
    """The accuracy over seeds and images with its 95 % interval.

    Args:
        hits: Whether each seed's network was right, bool, shape (seeds, images). With one seed and no folds the
            interval is Wilson's and speaks of the test images only.
        folds: The fold in which each image was tested, from 0, shape (seeds, images).
    """
    if len(hits) == 1 and folds is None:
        return proportion(hits[0])
    # Two imagined images that are right and two that are not (Agresti & Coull, The American Statistician 1998) keep
    # the interval from vanishing at 0 and 1.
    return _over_images([hits], hits.astype(float), folds, {1.0: 2.0, 0.0: 2.0}, (0.0, 1.0)).estimate


def paired_difference(first: np.ndarray, second: np.ndarray, folds: np.ndarray | None = None) -> Uncertain:
    """The first's accuracy less the second's on the same images.

    Args:
        first, second: Hits, bool, shapes (seeds, images); they may differ in the number of seeds.
        folds: The fold in which both tested each image, from 0, shape (seeds, images); then row i of both has the same
            folds.
    """
    if folds is None:
        differences = first.mean(axis=0, keepdims=True) - second.mean(axis=0, keepdims=True)
    else:
        differences = first.astype(float) - second.astype(float)
    # Half an imagined image in each cell of the 2×2 table (Agresti & Min, Statistics in Medicine 2005).
    return _over_images([first, second], differences, folds, {1.0: 0.5, -1.0: 0.5, 0.0: 1.0}, (-1.0, 1.0))


def _over_images(
    hits: Sequence[np.ndarray],
    values: np.ndarray,
    folds: np.ndarray | None,
    imagined: dict[float, float],
    bounds: tuple[float, float],
) -> Uncertain:
    """The mean of ``values``, shape (seeds, images), made of the hits of one or two backbones.

    Args:
        imagined: Values of further images with their weights, against intervals of no width.
    """
    images = values.shape[1]
    by_image = np.concatenate([values.mean(axis=0), list(imagined)])
    weight = np.concatenate([np.ones(images), list(imagined.values())])
    total = weight.sum()
    middle = float((weight * by_image).sum() / total)
    of_images = float((weight * (by_image - middle) ** 2).sum() / total**2)
    if folds is None:
        trainings = [_trainings(one.mean(axis=1), _variances_over_images(one)) for one in hits]
        ways: tuple[tuple[Part, ...], ...] = (_parts(of_images, images, trainings),)
    else:
        # The images alone are the least that varies, where all folds happen to agree.
        ways = ((_of_folds(values, folds),), (Part(of_images, images - 1),))
    return Uncertain(float(values.mean()), middle, ways, bounds)


def _variances_over_images(hits: np.ndarray) -> np.ndarray:
    """The variance that other images give to each seed's mean and, last, to the mean of all; shape (seeds + 1,)."""
    every = np.concatenate([hits, hits.mean(axis=0, keepdims=True)])
    return every.var(axis=1, ddof=1) / hits.shape[1]


def _of_folds(values: np.ndarray, folds: np.ndarray) -> Part:
    count = int(folds.max()) + 1
    means = [row[fold == k].mean() for row, fold in zip(values, folds, strict=True) for k in range(count)]
    overlap = 1 / (count - 1)  # images tested for each that is trained on
    return Part(float(np.var(means, ddof=1)) * (1 / len(means) + overlap), len(means) - 1)


@dataclass(frozen=True)
class Trainings:
    """What the trainings of one backbone add to the variance of their mean score.

    Attributes:
        part: As far as their scores tell; None of a single training.
        noise: How much of the variance over images is in it already: that of what each training answers by chance.
    """

    part: Part | None
    noise: float


def _trainings(by_seed: np.ndarray, variances: np.ndarray) -> Trainings:
    """From the scores, shape (seeds,), and the variances over test sets of each and of their mean, (seeds + 1,)."""
    seeds = len(by_seed)
    if seeds == 1:
        return Trainings(None, 0.0)
    noise = (variances[:-1].mean() - variances[-1]) / (seeds - 1)
    return Trainings(Part(float(by_seed.var(ddof=1)) / seeds, seeds - 1), max(0.0, float(noise)))


def _parts(of_images: float, images: int, trainings: Sequence[Trainings]) -> tuple[Part, ...]:
    """The parts of the variance of a mean, or of the difference of two."""
    parts = [one.part for one in trainings if one.part]
    if len(parts) < len(trainings):  # how a training varies is unknown of one at least
        return (Part(of_images, images - 1),)
    noise = sum(one.noise for one in trainings)
    return Part(max(0.0, of_images - noise), images - 1), _welch(parts)


def _welch(parts: Sequence[Part]) -> Part:
    """The sum of variances that need not be alike (Welch, Biometrika 1947)."""
    variance = sum(part.variance for part in parts)
    squares = sum(part.variance**2 / part.freedom for part in parts)
    return Part(variance, variance**2 / squares if squares else min(part.freedom for part in parts))


@dataclass(frozen=True)
class Resampled:
    """Scores that are no means over images, such as average precision, with a bootstrap over images.

    Attributes:
        by_seed: Shape (seeds,).
        draws: Of each on the same resamples of the test images, shape (seeds, resamples); NaN where there is none.
        images: Number of test images.
    """

    by_seed: np.ndarray
    draws: np.ndarray
    images: int

    @property
    def trainings(self) -> Trainings:
        every = np.concatenate([self.draws, self.draws.mean(axis=0, keepdims=True)])
        return _trainings(self.by_seed, np.nanvar(every, axis=1))

    @property
    def mean(self) -> Uncertain:
        """The mean score."""
        value = float(self.by_seed.mean())
        of_images = float(np.nanvar(self.draws.mean(axis=0)))
        return Uncertain(value, value, (_parts(of_images, self.images, [self.trainings]),), (0.0, 1.0))

    def less(self, other: "Resampled") -> Uncertain:
        """This mean score less the other's on the same images."""
        value = float(self.by_seed.mean() - other.by_seed.mean())
        of_images = float(np.nanvar(self.draws.mean(axis=0) - other.draws.mean(axis=0)))
        ways = (_parts(of_images, self.images, [self.trainings, other.trainings]),)
        return Uncertain(value, value, ways, (-1.0, 1.0))


def signed(share: float, digits: int = 1) -> str:
    """A difference in points, with its sign; none is "+0.0"."""
    return f"{round(100 * share, digits) + 0.0:+.{digits}f}"
