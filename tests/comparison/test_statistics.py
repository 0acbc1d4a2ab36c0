"""Intervals and tests against statsmodels, closed forms and simulation."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from mixtransfer.comparison.statistics import (
    LEAST_P,
    Part,
    Resampled,
    Uncertain,
    holm,
    mcnemar,
    mean_accuracy,
    paired_difference,
    signed,
)


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


def _quantile(freedom: float) -> float:
    return stats.t.ppf(0.975, freedom)


def _seeds(rows: list[np.ndarray], images: int) -> tuple[float, float]:
    """Of some trainings: the variance of their mean score, and how much of the images' variance is in it already."""
    each = [np.var(row, ddof=1) / images for row in rows]
    together = np.var(np.mean(rows, axis=0), ddof=1) / images
    scores = [row.mean() for row in rows]
    return np.var(scores, ddof=1) / len(rows), max(0.0, (np.mean(each) - together) / (len(rows) - 1))


def test_several_seeds_add_their_variance_by_howe():
    """Squared quantile times variance, of the trainings and of the images without the trainings' noise."""
    hits = np.random.default_rng(0).random((3, 60)) < np.array([[0.6], [0.7], [0.85]])
    by_image = [*hits.mean(axis=0), 1, 1, 0, 0]
    of_seeds, noise = _seeds(list(hits), 60)
    of_images = np.var(by_image) / 64 - noise
    reach = (_quantile(2) ** 2 * of_seeds + _quantile(59) ** 2 * of_images) ** 0.5
    ours = mean_accuracy(hits)
    assert (ours.low, ours.high) == pytest.approx((np.mean(by_image) - reach, min(1, np.mean(by_image) + reach)))


def test_the_seeds_of_two_backbones_are_added_by_welch():
    generator = np.random.default_rng(0)
    first = generator.random((3, 60)) < np.array([[0.6], [0.7], [0.85]])
    second = generator.random((2, 60)) < np.array([[0.3], [0.4]])
    (one, noise_one), (other, noise_other) = _seeds(list(first), 60), _seeds(list(second), 60)
    freedom = (one + other) ** 2 / (one**2 / 2 + other**2 / 1)
    # Half an imagined image that only the first gets right, half one that only the second does, and one of a draw.
    by_image = np.array([*(first.mean(axis=0) - second.mean(axis=0)), 1, -1, 0])
    weight = np.array([1] * 60 + [0.5, 0.5, 1])
    middle = np.average(by_image, weights=weight)
    of_images = np.average((by_image - middle) ** 2, weights=weight) / 62 - noise_one - noise_other
    reach = (_quantile(freedom) ** 2 * (one + other) + _quantile(59) ** 2 * max(0, of_images)) ** 0.5
    ours = paired_difference(first, second)
    assert ours.value == pytest.approx(first.mean() - second.mean())
    assert ours.reach() == pytest.approx(reach) and ours.middle == pytest.approx(middle)
    reversed_ = paired_difference(second, first)
    assert (reversed_.low, reversed_.high) == pytest.approx((-ours.high, -ours.low))


def test_folds_have_nadeau_and_bengios_interval():
    generator = np.random.default_rng(0)
    folds = np.stack([np.arange(60) % 4, generator.permutation(60) % 4])
    first = generator.random((2, 60)) < 0.5 + 0.12 * folds
    second = generator.random((2, 60)) < 0.5
    means = [(first[s].astype(int) - second[s])[folds[s] == k].mean() for s in range(2) for k in range(4)]
    reach = _quantile(7) * (np.var(means, ddof=1) * (1 / 8 + 1 / 3)) ** 0.5
    ours = paired_difference(first, second, folds)
    assert ours.reach() == pytest.approx(reach)
    assert ours.middle == pytest.approx((first.mean() - second.mean()) * 60 / 62)


def test_folds_that_agree_leave_the_images():
    hits = np.tile([True, True, True, False], 10)[None]
    ours = mean_accuracy(hits, (np.arange(40) // 4 % 5)[None])
    reach = _quantile(39) * (np.var([*hits[0], 1, 1, 0, 0]) / 44) ** 0.5
    assert (ours.low, ours.high) == pytest.approx((32 / 44 - reach, 32 / 44 + reach))


def _certain(middle: float, variance: float, freedom: float) -> Uncertain:
    return Uncertain(middle, middle, ((Part(variance, freedom),),), (-1.0, 1.0))


@pytest.mark.parametrize("middle", [0.0, 0.004, 0.02, -0.05, 0.2])
def test_probabilities_are_students(middle):
    ours = _certain(middle, 0.01**2, 5)
    for truth in (0.0, 0.01, -0.03):
        expected = 2 * stats.t.sf(abs(middle - truth) / 0.01, 5)
        assert ours.p(truth) == pytest.approx(expected, rel=1e-3)
    expected = max(stats.t.sf((middle + 0.03) / 0.01, 5), stats.t.cdf((middle - 0.03) / 0.01, 5))
    assert ours.p_beyond(0.03) == pytest.approx(expected if abs(middle) < 0.03 else 1.0, rel=1e-3)


def test_probabilities_have_a_floor():
    assert _certain(0.9, 1e-9, 50).p() == LEAST_P
    assert _certain(0.03, 1e-4, 5).p_beyond(0.03) == 1.0


def test_of_several_ways_the_widest_holds():
    ways = ((Part(0.01, 5), Part(0.002, 40)), (Part(0.03, 20),))
    reaches = [(_quantile(5) ** 2 * 0.01 + _quantile(40) ** 2 * 0.002) ** 0.5, _quantile(20) * 0.03**0.5]
    for order in (ways, ways[::-1]):
        assert Uncertain(0.5, 0.5, order, (0.0, 1.0)).reach() == pytest.approx(max(reaches))


@pytest.mark.parametrize("p", [[0.03, 0.01, 0.4], [0.02, 0.02, 0.02, 0.9], [0.5], [0.04, 0.011, 0.012, 0.013, 0.7]])
def test_holm_is_statsmodels(p):
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


def test_resampled_scores_have_the_variance_of_their_draws():
    generator = np.random.default_rng(0)
    image = generator.normal(0, 0.02, (1, 500))  # moves all trainings alike

    def scores(means: list[float]) -> Resampled:
        noise = generator.normal(0, 0.01, (len(means), 500))
        return Resampled(np.array(means), np.array(means)[:, None] + image + noise, 80)

    def parts(one: Resampled) -> tuple[float, float]:
        seeds = len(one.by_seed)
        noise = (one.draws.var(axis=1).mean() - one.draws.mean(axis=0).var()) / (seeds - 1)
        return one.by_seed.var(ddof=1) / seeds, noise

    first, second = scores([0.50, 0.53, 0.58]), scores([0.40, 0.43])
    (one, noise_one), (other, noise_other) = parts(first), parts(second)
    ours = first.mean
    images = first.draws.mean(axis=0).var() - noise_one
    assert ours.value == ours.middle == pytest.approx(np.mean([0.50, 0.53, 0.58])) and ours.bounds == (0.0, 1.0)
    assert ours.reach() == pytest.approx((_quantile(2) ** 2 * one + _quantile(79) ** 2 * images) ** 0.5)
    less = first.less(second)
    images = (first.draws.mean(axis=0) - second.draws.mean(axis=0)).var() - noise_one - noise_other
    freedom = (one + other) ** 2 / (one**2 / 2 + other**2)
    reach = (_quantile(freedom) ** 2 * (one + other) + _quantile(79) ** 2 * max(0.0, images)) ** 0.5
    assert less.value == pytest.approx(0.5367 - 0.415, abs=1e-4) and less.bounds == (-1.0, 1.0)
    assert less.reach() == pytest.approx(reach)


def test_a_difference_that_rounds_to_none_has_the_sign_of_none():
    assert [signed(share) for share in (-0.0004, 0.0004, -0.0, -0.0006, 0.123)] == [
        "+0.0", "+0.0", "+0.0", "-0.1", "+12.3",
    ]  # fmt: skip
    assert signed(-0.00004, 2) == "+0.00" and signed(-0.00006, 2) == "-0.01"
