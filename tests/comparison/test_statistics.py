"""Intervals and tests against statsmodels, closed forms and simulation."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.proportion import proportion_confint

from mixtransfer.comparison.statistics import mcnemar, mean_accuracy, paired_difference


def _pair(both: int, first: int, second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Hits of two networks with these counts, each of shape (1, images)."""
    a = np.repeat([True, True, False, False], [both, first, second, neither])
    b = np.repeat([True, False, True, False], [both, first, second, neither])
    return a[None], b[None]


@pytest.mark.parametrize("counts", [(300, 12, 30, 58), (10, 0, 0, 3), (5, 4, 0, 1), (0, 1, 1, 0), (80, 55, 54, 7)])
def test_mcnemar_is_statsmodels(counts):
    both, first, second, neither = counts
    a, b = _pair(*counts)
    ours = mcnemar(a[0], b[0])
    reference = statsmodels_mcnemar([[both, first], [second, neither]], exact=True)
    assert (ours.only_first, ours.only_second) == (first, second)
    assert ours.p == pytest.approx(min(1.0, reference.pvalue))


def test_one_seed_has_wilsons_interval():
    hits = np.arange(400)[None] < 316
    ours = mean_accuracy(hits)
    assert (ours.low, ours.high) == pytest.approx(proportion_confint(316, 400, method="wilson"))


@pytest.mark.parametrize("counts", [(300, 12, 30, 58), (390, 0, 0, 10), (380, 20, 0, 0)])
def test_difference_of_one_seed_is_agresti_and_min(counts):
    ours = paired_difference(*_pair(*counts))
    both, b, c, neither = (count + 0.5 for count in counts)
    n = both + b + c + neither
    middle, error = (b - c) / n, np.sqrt((b + c - (b - c) ** 2 / n) / n**2)
    reach = stats.t.ppf(0.975, sum(counts) - 1) * error
    assert ours.value == pytest.approx((counts[1] - counts[2]) / sum(counts))
    assert (ours.low, ours.high) == pytest.approx((min(middle - reach, ours.value), max(middle + reach, ours.value)))
    assert ours.low < ours.high


def test_equal_seeds_add_nothing_but_the_images():
    """Three times the same network is one network: the interval is that of the images alone."""
    a, b = _pair(300, 12, 30, 58)
    one, three = paired_difference(a, b), paired_difference(a.repeat(3, 0), b.repeat(3, 0))
    assert (three.low, three.high) == pytest.approx((one.low, one.high))


def test_seeds_that_differ_widen_the_interval():
    alike = np.tile(np.arange(400) < 300, (3, 1))
    apart = np.stack([np.arange(400) < count for count in (260, 300, 340)])
    narrow, wide = mean_accuracy(alike), mean_accuracy(apart)
    assert narrow.value == wide.value
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


@pytest.mark.parametrize("skill", [0.0, 0.5, 1.0])
def test_intervals_hold_their_value_and_stay_within_bounds(skill):
    hits = np.random.default_rng(0).random((3, 50)) < skill
    for estimate in (mean_accuracy(hits), mean_accuracy(hits[:1]), paired_difference(hits, ~hits)):
        assert estimate.low <= estimate.value <= estimate.high
        assert -1 <= estimate.low < estimate.high <= 1


def test_intervals_cover_the_truth():
    """Of simulated studies with 3 seeds, 200 images and true difference 3 points, 95 % or a little more cover it."""
    generator = np.random.default_rng(1)
    covered, studies = 0, 600
    for _ in range(studies):
        easy = generator.normal(0.8, 0.8, 200)  # images differ in how easy they are
        gap = 0.15 + generator.normal(0, 0.1, (3, 1))  # and seeds in how well the training went
        first, second = (easy + shift + generator.normal(0, 0.5, (3, 200)) > 0 for shift in (gap, np.zeros((3, 1))))
        spread = np.hypot(0.8, 0.5)
        truth = stats.norm.cdf((0.8 + 0.15) / np.hypot(spread, 0.1)) - stats.norm.cdf(0.8 / spread)
        estimate = paired_difference(first, second)
        covered += estimate.low <= truth <= estimate.high
    assert 0.93 <= covered / studies <= 1
