"""95 % intervals of a share, and of scores that are means over classes, for any number of images a class.

Few images say little of how much a class's score would vary with others of its kind: one image has no variance at all,
and neither has any number that are all right. So each class's row of the confusion matrix is first drawn towards what
the classes have in common. The variance that follows, by the delta method (for macro F1 as Takahashi et al., Applied
Intelligence 2022, within classes), says how many independent images would tell as much, and that *effective sample
size* goes into Wilson's interval, as is done with surveys (Korn & Graubard, Survey Methodology 1998).
"""

import numpy as np
from scipy.special import gammaincinv, ndtri

Interval = tuple[float, float]

STRENGTH = 2.0  # images that what the classes have in common is worth to each
FEWEST = 2.0  # images a class, as their harmonic mean, below which macro F1 is too biased for an interval
RARE = 3  # images right, or wrong, up to which Poisson's bound is looked at


def wilson(value: float, images: float) -> Interval:
    """The interval of a share (Wilson, JASA 1927), with Poisson's bound where nearly all are right, or wrong.

    Without that bound a share near 0 or 1 may be covered by 83 % of the intervals only (Brown, Cai & DasGupta,
    Statistical Science 2001, section 4.1.1).

    Args:
        value: The share.
        images: What it is a share of; need not be whole.
    """
    z2 = ndtri(0.975) ** 2
    half = np.sqrt(z2 * (value * (1 - value) / images + z2 / (4 * images**2)))
    low, high = ((value + z2 / (2 * images) + side) / (1 + z2 / images) for side in (-half, half))
    right, wrong = value * images, (1 - value) * images
    if 0 < right <= RARE:
        low = min(low, gammaincinv(right, 0.05) / images)
    if 0 < wrong <= RARE:
        high = max(high, 1 - gammaincinv(wrong, 0.05) / images)
    return max(0.0, float(low)), min(1.0, float(high))


def class_mean_intervals(confusion: np.ndarray) -> tuple[Interval, Interval | None]:
    """The intervals of mean per-class accuracy and of macro F1, over other test sets with as many images a class.

    Args:
        confusion: Counts of (true, predicted) classes, shape (classes, classes).

    Returns:
        Each (low, high). That of macro F1 is None where most classes have a single image: its value is then some
        points below that of many images, whatever the number of classes.
    """
    occurs = confusion.sum(axis=0) + confusion.sum(axis=1) > 0
    counts = confusion[np.ix_(occurs, occurs)].astype(float)
    images = counts.sum(axis=1)
    tested = images > 0
    rows = _drawn_together(counts)
    accuracies = np.diag(counts)[tested] / images[tested]

    # What an image of a class (row) that is predicted as another (column) adds to the score, but for constants.
    to_accuracy = np.diag(np.divide(1, images * tested.sum(), where=tested, out=np.zeros(len(images))))
    interval = wilson(accuracies.mean(), _effective(rows, images, to_accuracy, np.diag(rows)[tested].mean()))
    if tested.sum() / (1 / images[tested]).sum() < FEWEST:
        return interval, None

    expected = images[:, None] * rows
    right, total = np.diag(expected), images + expected.sum(axis=0)
    to_f1 = (np.diag(2 / total) - 2 * right / total**2) / len(images)
    value = (2 * np.diag(counts) / (images + counts.sum(axis=0))).mean()
    # F1 is no mean over images: of few it is too small. Its second derivatives say by how much.
    spread = _correction(images)[:, None] * expected * (1 - rows)
    own, others = np.diag(spread), spread.sum(axis=0) - np.diag(spread)
    bias = ((-2 * (total - right) * own + 2 * right * others) / total**3).mean()
    effective = _effective(rows, images, to_f1, (2 * right / total).mean())
    low, high = wilson(min(1.0, value - bias), effective)
    return interval, (min(low, float(value)), max(high, float(value)))


def _drawn_together(counts: np.ndarray) -> np.ndarray:
    """The share of each class's images that is predicted as each, shape as ``counts``, drawn towards a common row.

    Its accuracy is that of the classes as they count for the variance, by one over their images, with half an imagined
    image right and half a one wrong; its mistakes go everywhere alike.
    """
    images = counts.sum(axis=1)
    weight = np.divide(1, images, where=images > 0, out=np.zeros(len(images)))
    independent = (images > 0).sum() ** 2 / weight.sum()
    accuracy = (weight * np.diag(counts) * weight).sum() / weight.sum()
    common = (accuracy * independent + 0.5) / (independent + 1)
    row = np.full(counts.shape, (1 - common) / max(len(images) - 1, 1))
    np.fill_diagonal(row, common)
    return (counts + STRENGTH * row) / (images + STRENGTH)[:, None]


def _correction(images: np.ndarray) -> np.ndarray:
    """What the variance of rows that were drawn together must be multiplied by, where the classes are alike."""
    return 1 / (1 - images / (images + STRENGTH) ** 2)


def _effective(rows: np.ndarray, images: np.ndarray, added: np.ndarray, value: float) -> float:
    """How many independent images would give a share of ``value`` the variance that the score has."""
    mean = (rows * added).sum(axis=1)
    variance = (_correction(images) * images * ((rows * added**2).sum(axis=1) - mean**2)).sum()
    return float(value * (1 - value) / variance)
