"""Fronts against brute force, limits, what may be claimed, and in which words."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from mixtransfer.classification.metrics import Estimate
from mixtransfer.comparison.cost import Cost
from mixtransfer.comparison.fronts import Limit, costs_of, front, within
from mixtransfer.comparison.outcomes import ClassificationOutcome
from mixtransfer.comparison.rows import Row
from mixtransfer.comparison.verdict import Claim, beside, choose, claims_of, criterion, said, verdict
from mixtransfer.deploy.latency import Duration
from mixtransfer.errors import UserError

SEVERAL = ("images", "trainings")


def row(name: str, score: float, milliseconds: float, validation: float | None = None, macs: int = 10**8) -> Row:
    """A backbone with three seeds, which validation has scored as the test unless it is said otherwise."""
    cost = Cost(4_000_000, macs, 224, 16_000_000, {"pytorch": Duration(milliseconds / 1e3, 0, 1)}, {"pytorch": 9.0})
    its = {"top1": score if validation is None else validation}
    return Row(name, [], 400, Estimate(score, score - 0.02, score + 0.02), [score] * 3, SEVERAL, its, cost=cost)


def on_test(one: Row) -> float:
    return one.score.value


def claim(low: float, high: float, words: str) -> Claim:
    return Claim(Estimate((low + high) / 2, low, high), words, 0.01, 0.01)


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
    assert [limit.most for limit in Limit.parse(text)] == [pytest.approx(most)]


@pytest.mark.parametrize(
    "text", ["latency", "latency=", "latency=fast", "latency=15", "macs=3ms", "=3", "size=1.2.3MB"]
)
def test_limits_that_are_none(text):
    with pytest.raises(UserError, match="is not understood"):
        Limit.parse(text)


def test_the_most_accurate_within_a_limit():
    rows = [row("small", 0.78, 10), row("slow", 0.77, 20), row("large", 0.80, 30)]
    assert within(rows, Limit.parse("latency=15ms"), on_test).backbone == "small"
    assert within(rows, Limit.parse("latency=25ms"), on_test).backbone == "small"
    assert within(rows, Limit.parse("latency=30ms"), on_test).backbone == "large"
    assert within(rows, Limit.parse("latency=5ms"), on_test) is None


def test_a_limit_on_what_was_not_measured():
    bare = row("small", 0.78, 10)
    bare.cost = replace(bare.cost, latency={})
    with pytest.raises(UserError, match="was not measured"):
        within([bare], Limit.parse("latency=15ms"), on_test)


@pytest.mark.parametrize(
    ("difference", "p_holm", "p_equivalent", "words"),
    [
        (0.03, 0.049, None, "better"),
        (-0.03, 0.049, None, "worse"),
        (0.03, 0.05, None, "not told apart"),
        (-0.03, 0.2, 0.05, "not told apart"),
        (-0.002, 0.2, 0.049, "as good"),
        (-0.002, 0.01, 0.049, "as good"),
        (-0.02, 0.01, 0.2, "worse"),
    ],
)
def test_what_a_difference_lets_one_say(difference, p_holm, p_equivalent, words):
    assert said(difference, p_holm, p_equivalent) == words


def outcome(hits: np.ndarray) -> ClassificationOutcome:
    return ClassificationOutcome(hits, [(f"{i}.jpg", "cat") for i in range(hits.shape[1])], list(range(len(hits))))


def null_study(generator: np.random.Generator, backbones: int, seeds: int = 3, images: int = 100) -> dict:
    """Backbones that do not differ: images are easy or not, each network has its own luck, each training too."""
    easy = generator.normal(1, 1, images)
    return {
        str(k): outcome(
            easy
            + generator.normal(0, 0.5, images)
            + generator.normal(0, 0.3, (seeds, 1))
            + generator.normal(0, 0.6, (seeds, images))
            > 0
        )
        for k in range(backbones)
    }


@pytest.mark.parametrize("backbones", [2, 5])
def test_equals_are_told_apart_in_5_percent_of_the_studies_at_most(backbones):
    generator, studies = np.random.default_rng(0), 300
    wrong = sum(
        any(claims[a][b].said in ("better", "worse") for a, b in combinations(claims, 2))
        for claims in (claims_of(null_study(generator, backbones), None) for _ in range(studies))
    )
    assert wrong / studies <= 0.05


def test_a_large_difference_is_claimed_and_reads_the_same_from_both_sides():
    generator = np.random.default_rng(0)
    claims = claims_of({"good": outcome(generator.random((3, 400)) < 0.9),
                        "poor": outcome(generator.random((3, 400)) < 0.6)}, None)  # fmt: skip
    good, poor = claims["good"]["poor"], claims["poor"]["good"]
    assert (good.said, poor.said) == ("better", "worse") and good.p_holm == poor.p_holm < 0.001
    assert poor.difference == Estimate(-good.difference.value, -good.difference.high, -good.difference.low)


def test_one_training_of_either_claims_nothing():
    generator = np.random.default_rng(0)
    several, one = generator.random((3, 400)) < 0.6, generator.random((1, 400)) < 0.9
    found = claims_of({"several": outcome(several), "one": outcome(one)}, 0.01)["one"]["several"]
    assert (found.said, found.p, found.p_holm, found.interval) == ("one training", None, None, None)


def test_networks_that_answer_nearly_alike_are_as_good_within_a_margin():
    hits = np.tile(np.arange(2000) < 1600, (3, 1))
    other = hits.copy()
    other[:, 1599] = False
    outcomes = {"one": outcome(hits), "other": outcome(other)}
    assert claims_of(outcomes, 0.01)["one"]["other"].said == "as good"
    assert claims_of(outcomes, None)["one"]["other"].said == "not told apart"


def test_scores_on_other_validation_images_choose_nothing():
    one, other = row("mixnet_m", 0.79, 15, 0.85), row("resnet50", 0.81, 30, 0.80)
    one.validation["images"], other.validation["images"] = 100, 30
    assert choose([one, other]) is None and "of other images" in verdict([one, other], None)[0]


def test_validation_chooses_and_the_test_only_reports():
    chosen, best_tested = row("mixnet_m", 0.79, 15, 0.85), row("resnet50", 0.81, 30, 0.80)
    assert choose([best_tested, chosen]) is chosen and criterion([best_tested, chosen]) == "top1"
    chosen.validation["log_loss"], best_tested.validation["log_loss"] = 0.7, 0.6
    assert choose([best_tested, chosen]) is best_tested and criterion([best_tested, chosen]) == "log_loss"


def test_of_equals_on_validation_the_cheaper_is_chosen():
    dear, cheap = row("dear", 0.81, 30, 0.8, 2 * 10**8), row("cheap", 0.79, 15, 0.8)
    assert choose([dear, cheap]) is cheap


def test_without_validation_scores_nothing_is_chosen():
    unknown = row("mixnet_s", 0.8, 10)
    unknown.validation = {}
    assert choose([unknown]) is None and beside(unknown, None) == ""
    assert "Which is best is not said" in verdict([unknown], unknown)[0]


def test_the_verdict_tells_a_difference_from_noise():
    large, worse, alike = row("resnet50", 0.80, 30), row("mixnet_s", 0.788, 10), row("mixnet_m", 0.797, 15)
    worse.claims["resnet50"] = claim(-0.018, -0.006, "worse")
    alike.claims["resnet50"] = claim(-0.021, 0.015, "not told apart")
    limited, best, of_worse, of_alike, untold, steps, *_ = verdict(
        [worse, alike, large], large, Limit.parse("latency=12ms")
    )
    assert limited == (
        "Under 12 ms of latency on this machine: mixnet_s, 78.8 % (76.8–80.8), 10.0 ms in PyTorch, "
        "1.2 ± 0.6 points below resnet50."
    )
    assert best == "Best on validation (top-1): resnet50, 80.0 % (78.0–82.0) on the test images."
    assert of_worse.startswith("mixnet_s is 1.2 ± 0.6 points below resnet50, with 0.33 times its latency")
    assert "mixnet_m cannot be told apart from resnet50 with these 400 test images and 3 seeds" in of_alike
    assert untold == "Cannot be told apart from resnet50: mixnet_m."
    assert steps.endswith("mixnet_s from 10.0 ms on, mixnet_m from 15.0 ms on, resnet50 from 30.0 ms on.")


def test_as_good_names_the_margin():
    large, alike = row("resnet50", 0.80, 30), row("mixnet_m", 0.799, 15)
    alike.claims["resnet50"] = claim(-0.006, 0.004, "as good")
    words = " ".join(verdict([alike, large], large, margin=0.01))
    assert "mixnet_m is as good as resnet50 within a margin of 1 (difference -0.1 points, -0.6 to +0.4)" in words


def test_one_seed_says_what_it_cannot_say():
    one, other = row("mixnet_s", 0.80, 10), row("resnet50", 0.78, 30)
    for each in (one, other):
        each.by_seed, each.covers = each.by_seed[:1], ("images",)
    one.claims["resnet50"] = claim(0.01, 0.03, "one training")
    words = " ".join(verdict([one, other], other))
    assert "With one seed nothing is said of which backbone is better" in words
    assert "mixnet_s scored 2.0 points more than resnet50 on these 400 test images, in one training" in words
    assert "±" not in words and " is " not in words.split("With one seed")[0]


def test_nothing_finished():
    assert verdict([Row("mixnet_s", [])], None) == [
        "Nothing can be compared: no training has finished, or no seed has all its folds."
    ]


def costing(name: str, score: float, milliseconds: float, macs: int, params: int) -> Row:
    one = row(name, score, milliseconds, macs=macs)
    one.cost = replace(one.cost, params=params)
    return one


def test_costs_are_told_as_multiples_of_the_baselines():
    base, one = costing("resnet50", 0.80, 40, 4 * 10**9, 25_000_000), costing("mixnet_s", 0.81, 10, 10**9, 4_000_000)
    one.claims["resnet50"] = claim(0.004, 0.016, "better")
    assert verdict([one, base], base)[1] == (
        "mixnet_s is 1.0 ± 0.6 points above resnet50, with 0.25 times its latency (PyTorch), 0.25 times its "
        "multiply-adds, "
        "0.16 times its parameters."
    )
    one.cost = replace(one.cost, latency={})
    assert (
        "latency" not in verdict([one, base], base)[1] and "0.16 times its parameters." in verdict([one, base], base)[1]
    )
    one.cost = None
    assert verdict([one, base], base)[1] == "mixnet_s is 1.0 ± 0.6 points above resnet50."


def test_without_latencies_the_front_is_over_multiply_adds():
    rows = [costing("large", 0.82, 9, 4 * 10**9, 1), costing("small", 0.80, 9, 256 * 10**6, 1)]
    for one in rows:
        one.cost = replace(one.cost, latency={})
    assert verdict(rows, None)[-1] == (
        "Most accurate on validation by multiply-adds allowed: small from 256M on, large from 4,000M on."
    )
    for one in rows:
        one.cost = None
    assert not any("Most accurate" in sentence for sentence in verdict(rows, None))


def test_a_limit_says_where_it_holds():
    small, large = costing("small", 0.78, 10, 10**8, 1), costing("large", 0.80, 30, 10**9, 1)
    assert "Under 300 M of multiply-adds: small, 78.0 % (76.0–80.0)." in verdict(
        [small, large], None, Limit.parse("macs=300M")
    )
    told = verdict([small, large], large, Limit.parse("latency=1ms"))[0]
    assert told == "Under 1 ms of latency on this machine: none of these."
    small.claims["large"] = claim(-0.04, 0.0, "not told apart")
    assert verdict([small, large], large, Limit.parse("latency=12ms"))[0].endswith(
        "small, 78.0 % (76.0–80.0), 10.0 ms in PyTorch."
    )


def test_latency_is_that_of_each_ones_fastest_runtime():
    """MixNet-S gains more by a runtime than ResNet-50 does; eager PyTorch would say that neither fits."""
    small, large = row("small", 0.78, 36), row("large", 0.80, 118)
    small.cost.latency |= {"onnxruntime": Duration(0.014, 0, 1), "openvino": Duration(0.013, 0, 1)}
    large.cost.latency |= {"onnxruntime": Duration(0.064, 0, 1)}
    told = verdict([small, large], large, Limit.parse("latency=15ms"))[0]
    assert told == "Under 15 ms of latency on this machine: small, 78.0 % (76.0–80.0), 13.0 ms in OpenVINO."
    assert within([small, large], Limit.parse("latency.onnxruntime=13.5ms"), on_test) is None
    assert within([small, large], Limit.parse("latency.openvino=13.5ms"), on_test) is small
    small.claims["large"] = claim(-0.03, -0.01, "worse")
    assert "0.20 times its latency (OpenVINO against ONNX Runtime)" in " ".join(verdict([small, large], large))


def test_several_limits_hold_at_once():
    """The best of those that fit all, though another one on the front of each cost fits some."""
    slow, heavy, fit = (
        costing("slow", 0.9, 30, 10**8, 10**6),
        costing("heavy", 0.85, 5, 10**8, 10**7),
        costing("fit", 0.8, 9, 10**8, 10**6),
    )
    assert within([slow, heavy, fit], Limit.parse("latency=10ms, params=2M"), on_test) is fit
    told = verdict([slow, fit], None, Limit.parse("latency.pytorch=10ms,params=2M"))[0]
    assert told.startswith("Under 10 ms of latency in PyTorch, 2 M of parameters on this machine: fit")
    with pytest.raises(UserError, match="after latency stands a runtime: pytorch, onnxruntime"):
        Limit.parse("latency.tensorflow=10ms")


def test_pairs_are_counted_once():
    rows = [row(name, 0.8, 10) for name in "abc"]
    for one, other in combinations(rows, 2):
        one.claims[other.backbone] = claim(-0.1, 0.1, "not told apart")
        other.claims[one.backbone] = one.claims[other.backbone].reversed
    assert verdict(rows, None)[-1] == (
        "What is said of backbones holds for 3 pairs at once (Holm, 5 %), intervals one by one."
    )
    assert not any("Holm" in sentence for sentence in verdict(rows[:1], None))
    del rows[0].claims["c"], rows[2].claims["a"], rows[1].claims["c"], rows[2].claims["b"]
    assert not any("Holm" in sentence for sentence in verdict(rows[:2], None))


@pytest.mark.parametrize(
    ("covers", "seeds", "words"),
    [
        (SEVERAL, 1, "and 1 seed ("),
        (SEVERAL, 2, "and 2 seeds ("),
        ((*SEVERAL, "splits"), 3, "and 4 trainings on folds ("),
    ],
)
def test_the_trainings_behind_a_claim_are_told(covers, seeds, words):
    base, one = row("resnet50", 0.80, 30), row("mixnet_m", 0.799, 15)
    one.by_seed, one.covers, one.runs = [0.8] * seeds, covers, ["r"] * 4
    one.claims["resnet50"] = claim(-0.006, 0.004, "not told apart")
    assert words in verdict([one, base], base)[1]


def test_one_training_that_scored_less():
    base, one = row("resnet50", 0.80, 30), row("mixnet_m", 0.799, 15)
    one.claims["resnet50"] = claim(-0.03, -0.01, "one training")
    assert "mixnet_m scored 2.0 points less than resnet50 on these 400 test images, in one training" in " ".join(
        verdict([one, base], base)
    )


def test_a_row_beside_the_chosen_one():
    best, other, failed = row("resnet50", 0.80, 30), row("mixnet_m", 0.799, 15), Row("failed", [])
    other.claims["resnet50"] = claim(-0.03, -0.01, "worse")
    assert [beside(one, best) for one in (best, other, failed)] == ["chosen", "worse", ""]
    assert choose([failed, other, best]) is best and criterion([failed]) is None


def test_a_claim_as_json():
    one = replace(claim(0.01, 0.03, "better"), p_equivalent=0.4)
    assert one.to_dict() == {
        "difference": one.difference.to_dict(), "verdict": "better", "p": 0.01, "p_holm": 0.01, "p_equivalent": 0.4,
    }  # fmt: skip
    assert one.interval == (0.01, 0.03) and replace(one, said="one training").interval is None
    assert one.reversed.to_dict() == {
        "difference": {"value": -0.02, "low": -0.03, "high": -0.01},
        "verdict": "worse", "p": 0.01, "p_holm": 0.01, "p_equivalent": 0.4,
    }  # fmt: skip


def test_one_backbone_has_no_front():
    assert not any("Most accurate" in sentence for sentence in verdict([row("mixnet_m", 0.79, 15, 0.85)], None))
