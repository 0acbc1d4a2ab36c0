"""Fronts against brute force, limits, and what is said."""

from dataclasses import replace

import numpy as np
import pytest

from mixtransfer.classification.metrics import Estimate
from mixtransfer.comparison.cost import Cost
from mixtransfer.comparison.rows import Row
from mixtransfer.comparison.verdict import Limit, costs_of, front, verdict, within
from mixtransfer.deploy.latency import Duration
from mixtransfer.errors import UserError


def row(name: str, score: float, milliseconds: float, difference: Estimate | None = None, macs: int = 10**8) -> Row:
    cost = Cost(4_000_000, macs, 224, 16_000_000, {"pytorch": Duration(milliseconds / 1e3, 0, 1)}, {"pytorch": 9.0})
    return Row(name, [], 400, Estimate(score, score - 0.02, score + 0.02), [score] * 3, difference, cost=cost)


def test_front_is_what_brute_force_finds():
    generator = np.random.default_rng(0)
    for _ in range(50):
        rows = [row(str(i), *pair) for i, pair in enumerate(generator.integers(1, 6, (8, 2)))]
        cost = costs_of(rows)["latency"]
        points = [(one.score.value, cost(one)) for one in rows]
        kept = {
            one.backbone
            for one, (score, time) in zip(rows, points, strict=True)
            if not any(s >= score and t <= time and (s > score or t < time) for s, t in points)
        }
        assert {one.backbone for one in front(rows, cost)} == kept


def test_a_backbone_without_a_score_is_on_no_front():
    failed = Row("failed", [])
    good = row("good", 0.8, 10)
    assert front([failed, good], costs_of([failed, good])["latency"]) == [good]


@pytest.mark.parametrize(
    ("text", "most"),
    [("latency=15ms", 0.015), ("latency=1.5 s", 1.5), ("macs=300M", 3e8), ("params=5M", 5e6), ("size=20MB", 2e7)],
)
def test_limits_are_read(text, most):
    assert Limit.parse(text).most == pytest.approx(most)


@pytest.mark.parametrize(
    "text", ["latency", "latency=", "latency=fast", "latency=15", "macs=3ms", "=3", "size=1.2.3MB"]
)
def test_limits_that_are_none(text):
    with pytest.raises(UserError, match="is not understood"):
        Limit.parse(text)


def test_the_most_accurate_within_a_limit():
    rows = [row("small", 0.78, 10), row("slow", 0.77, 20), row("large", 0.80, 30)]
    assert within(rows, Limit.parse("latency=15ms")).backbone == "small"
    assert within(rows, Limit.parse("latency=25ms")).backbone == "small"
    assert within(rows, Limit.parse("latency=30ms")).backbone == "large"
    assert within(rows, Limit.parse("latency=5ms")) is None


def test_a_limit_on_what_was_not_measured():
    bare = row("small", 0.78, 10)
    bare.cost = replace(bare.cost, latency={})
    with pytest.raises(UserError, match="was not measured"):
        within([bare], Limit.parse("latency=15ms"))


def test_the_verdict_tells_a_difference_from_noise():
    large = row("resnet50", 0.80, 30)
    worse = row("mixnet_s", 0.788, 10, Estimate(-0.012, -0.018, -0.006))
    alike = row("mixnet_m", 0.797, 15, Estimate(-0.003, -0.021, 0.015))
    limited, best, of_worse, of_alike, steps = verdict([worse, alike, large], large, Limit.parse("latency=12ms"))
    assert limited == "Under 12 ms on this machine: mixnet_s, 78.8 %, 1.2 ± 0.6 points below resnet50."
    assert best == "Most accurate: resnet50, 80.0 % (78.0–82.0)."
    assert of_worse.startswith("mixnet_s is 1.2 ± 0.6 points below resnet50, with 0.33 times its latency")
    assert "mixnet_m cannot be told apart from resnet50 with these 400 test images and 3 seeds" in of_alike
    assert steps.endswith("mixnet_s from 10.0 ms on, mixnet_m from 15.0 ms on, resnet50 from 30.0 ms on.")


def test_one_seed_says_what_it_cannot_say():
    one = row("mixnet_s", 0.8, 10)
    one.by_seed = [0.8]
    assert any("With one seed" in sentence for sentence in verdict([one], one))


def test_nothing_finished():
    assert verdict([Row("mixnet_s", [])], None) == ["No training has finished."]
