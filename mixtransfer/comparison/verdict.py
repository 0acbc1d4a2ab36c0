"""What a comparison may claim: of two backbones, of the best of several, and in which words.

The best is chosen on validation, so that the test only reports. A claim about two backbones needs two trainings of each
at least, or folds. All pairs are one family (Holm): whichever of them is read, the chance that a difference is claimed
where there is none stays 5 %. The pairs with the best one would be fewer, but the validation that chose it judged the
same trainings as the test.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal

from mixtransfer.classification.metrics import Estimate
from mixtransfer.comparison.fronts import Limit, costs_of, front, within
from mixtransfer.comparison.statistics import Uncertain, holm, signed
from mixtransfer.deploy.runtimes import RUNTIMES

if TYPE_CHECKING:
    from mixtransfer.comparison.outcomes import Outcome
    from mixtransfer.comparison.rows import Row

LEVEL = 0.05

Said = Literal["better", "worse", "as good", "not told apart", "one training"]


@dataclass(frozen=True)
class Claim:
    """What may be said of one backbone beside another.

    Attributes:
        difference: Its score less the other's, with a 95 % interval of its own.
        said: "one training" where that is all there is of one of them, and nothing can be said.
        p: The probability of such a difference between equals; None where nothing can be said.
        p_holm: The same, adjusted for the number of pairs.
        p_equivalent: The probability of so small a difference if the true one were the margin, adjusted likewise; None
            without a margin.
    """

    difference: Estimate
    said: Said
    p: float | None = None
    p_holm: float | None = None
    p_equivalent: float | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Of the difference, where it speaks of backbones and not of two networks only."""
        return None if self.said == "one training" else (self.difference.low, self.difference.high)

    @property
    def reversed(self) -> "Claim":
        """The same of the other beside this one."""
        one = self.difference
        turned: dict[Said, Said] = {"better": "worse", "worse": "better"}
        difference = Estimate(-one.value, -one.high, -one.low)
        return Claim(difference, turned.get(self.said, self.said), self.p, self.p_holm, self.p_equivalent)

    def to_dict(self) -> dict:
        return {
            "difference": self.difference.to_dict(),
            "verdict": self.said,
            "p": self.p,
            "p_holm": self.p_holm,
            "p_equivalent": self.p_equivalent,
        }


def claims_of(outcomes: "Mapping[str, Outcome]", margin: float | None) -> dict[str, dict[str, Claim]]:
    """What may be said of each backbone beside each other one.

    Args:
        margin: A difference, as a fraction, that does not matter.
    """
    pairs = list(combinations(outcomes, 2))
    known = [all("trainings" in outcomes[name].covers for name in pair) for pair in pairs]
    differences = [outcomes[one].less(outcomes[other]) for one, other in pairs]
    family = [difference for difference, is_known in zip(differences, known, strict=True) if is_known]
    made = iter(_judged(family, margin))
    claims: dict[str, dict[str, Claim]] = {name: {} for name in outcomes}
    for (one, other), difference, is_known in zip(pairs, differences, known, strict=True):
        claims[one][other] = next(made) if is_known else Claim(difference.estimate, "one training")
        claims[other][one] = claims[one][other].reversed
    return claims


def _judged(family: Sequence[Uncertain], margin: float | None) -> list[Claim]:
    p = [difference.p() for difference in family]
    equivalent = holm([difference.p_beyond(margin) for difference in family]) if margin else [None] * len(family)
    return [
        Claim(one.estimate, said(one.value, p_holm, p_equivalent), p_one, p_holm, p_equivalent)
        for one, p_one, p_holm, p_equivalent in zip(family, p, holm(p), equivalent, strict=True)
    ]


def said(difference: float, p_holm: float, p_equivalent: float | None) -> Said:
    """What a difference lets one say; a sure one that surely does not matter is none."""
    if p_equivalent is not None and p_equivalent < LEVEL:
        return "as good"
    if p_holm < LEVEL:
        return "better" if difference > 0 else "worse"
    return "not told apart"


def criterion(rows: "Sequence[Row]") -> str | None:
    """What validation can choose by: "log_loss" where every row has it, else the score; None if some have neither, or
    were validated on other images."""
    scored = [row for row in rows if row.score]
    if len({row.validation.get("images") for row in scored}) > 1:
        return None
    for name in ("log_loss", "top1", "mAP", "AP"):
        if scored and all(name in row.validation for row in scored):
            return name
    return None


def merit(row: "Row", by: str) -> float | None:
    """How good a row is on validation, more being better; None if it has not been tested."""
    if row.score is None:
        return None
    return -row.validation[by] if by == "log_loss" else row.validation[by]


def choose(rows: "Sequence[Row]") -> "Row | None":
    """The best row on validation, of equal ones that with the fewest multiply-adds; None if validation is unknown."""
    by = criterion(rows)
    if by is None:
        return None
    cheapest_first = sorted((row for row in rows if row.score), key=lambda row: row.cost.macs if row.cost else 0)
    return max(cheapest_first, key=lambda row: merit(row, by))  # type: ignore[arg-type,return-value]


def beside(row: "Row", best: "Row | None") -> str:
    """A mark for tables: how a row stands beside the best one on validation."""
    if best is None or row.score is None:
        return ""
    return "chosen" if row is best else row.claims[best.backbone].said


CRITERIA = {"log_loss": "log loss", "top1": "top-1", "mAP": "mAP", "AP": "AP"}
NAMES = {"macs": "multiply-adds", "params": "parameters", "size": "file size"}


def verdict(
    rows: "Sequence[Row]", baseline: "Row | None", limits: "Sequence[Limit]" = (), margin: float | None = None
) -> list[str]:
    """Sentences for a person who has to choose.

    Args:
        margin: As in ``claims_of``.
    """
    scored = [row for row in rows if row.score]
    if not scored:
        return ["Nothing can be compared: no training has finished, or no seed has all its folds."]
    by, best = criterion(rows), choose(rows)
    sentences = []
    if by is None or best is None:
        sentences.append(
            "Which is best is not said: validation scores are missing or of other images, and the test may not choose."
        )
    else:
        if limits:
            sentences.append(_limited(rows, baseline, limits, by))
        sentences.append(f"Best on validation ({CRITERIA[by]}): {best.backbone}, {_tested(best)} on the test images.")
    if baseline:
        sentences += [
            _against(row, row.claims[baseline.backbone], baseline, margin)
            for row in scored
            if baseline.backbone in row.claims
        ]
    if best and len(scored) > 2:
        alike = [
            row.backbone for row in scored if row is not best and row.claims[best.backbone].said == "not told apart"
        ]
        if alike:
            sentences.append(f"Cannot be told apart from {best.backbone}: {', '.join(alike)}.")
    if by and len(scored) > 1:
        sentences += _by_cost(rows, by)
    return sentences + _cautions(scored)


def _by_cost(rows: "Sequence[Row]", by: str) -> list[str]:
    costs = costs_of(rows)
    main = "latency" if "latency" in costs else "macs"
    if main not in costs:
        return []
    unbeaten = front(rows, costs[main], lambda row: merit(row, by))
    steps = [f"{row.backbone} from {_amount(main, costs[main](row) or 0)} on" for row in unbeaten]
    where = " in its fastest runtime on this machine" if main == "latency" else ""
    return [f"Most accurate on validation by {_cost_name(main)} allowed{where}: {', '.join(steps)}."]


def _cautions(scored: "Sequence[Row]") -> list[str]:
    sentences = []
    pairs = sum(claim.p is not None for row in scored for claim in row.claims.values()) // 2
    if pairs > 1:
        sentences.append(
            f"What is said of backbones holds for {pairs} pairs at once (Holm, 5 %), intervals one by one."
        )
    if any("trainings" not in row.covers for row in scored):
        sentences.append(
            "With one seed nothing is said of which backbone is better: another training of either would end "
            "otherwise, by how much one seed cannot tell (--seeds 3 can). Intervals speak of the test images only."
        )
    return sentences


def _against(row: "Row", claim: Claim, baseline: "Row", margin: float | None) -> str:
    one, other = claim.difference, baseline.backbone
    interval = f"{signed(one.value)} points, {signed(one.low)} to {signed(one.high)}"
    images = f"these {row.test_images:,} test images"
    words = {
        "better": f"is {_points(one)} {other}",
        "worse": f"is {_points(one)} {other}",
        "as good": f"is as good as {other} within a margin of {100 * (margin or 0):g} (difference {interval})",
        "not told apart": (
            f"cannot be told apart from {other} with {images} and {_trainings(row)} (difference {interval})"
        ),
        "one training": (
            f"scored {abs(100 * one.value):.1f} points {'less' if one.value < 0 else 'more'} than {other} on {images}, "
            "in one training"
        ),
    }
    ratios = []
    if row.cost and baseline.cost:
        if row.cost.fastest and baseline.cost.fastest:
            mine, yours = (cost.latency[cost.fastest or ""].median for cost in (row.cost, baseline.cost))
            same = row.cost.fastest == baseline.cost.fastest
            names = [RUNTIMES[cost.fastest or ""].label for cost in (row.cost, baseline.cost)]
            ratios.append(f"{mine / yours:.2f} times its latency ({names[0] if same else ' against '.join(names)})")
        ratios.append(f"{row.cost.macs / baseline.cost.macs:.2f} times its multiply-adds")
        ratios.append(f"{row.cost.params / baseline.cost.params:.2f} times its parameters")
    return f"{row.backbone} {words[claim.said]}" + (f", with {', '.join(ratios)}." if ratios else ".")


def _limited(rows: "Sequence[Row]", baseline: "Row | None", limits: "Sequence[Limit]", by: str) -> str:
    row = within(rows, limits, lambda row: merit(row, by))
    here = any(limit.cost.startswith(("latency", "memory")) for limit in limits)
    words = ", ".join(f"{limit.text} of {_cost_name(limit.cost)}" for limit in limits)
    under = f"Under {words}{' on this machine' if here else ''}"
    if row is None:
        return f"{under}: none of these."
    claim = row.claims.get(baseline.backbone) if baseline else None
    more = ""
    if row.cost and row.cost.fastest and any(limit.cost == "latency" for limit in limits):
        more = (
            f", {_amount('latency', row.cost.latency[row.cost.fastest].median)} in {RUNTIMES[row.cost.fastest].label}"
        )
    if claim and baseline and claim.said in ("better", "worse"):
        more += f", {_points(claim.difference)} {baseline.backbone}"
    return f"{under}: {row.backbone}, {_tested(row)}{more}."


def _cost_name(cost: str) -> str:
    """Of a key of ``costs_of``, in words."""
    name, _, runtime = cost.partition(".")
    return f"{NAMES.get(name, name)} in {RUNTIMES[runtime].label}" if runtime else NAMES.get(name, name)


def _points(difference: Estimate) -> str:
    """Such as "1.2 ± 0.6 points below"; the half-width is that of the 95 % interval."""
    value, half = 100 * difference.value, 50 * (difference.high - difference.low)
    return f"{abs(value):.1f} ± {half:.1f} points {'below' if value < 0 else 'above'}"


def _trainings(row: "Row") -> str:
    if "splits" in row.covers:
        return f"{len(row.runs)} trainings on folds"
    return f"{row.seeds} seed{'s' * (row.seeds > 1)}"


def _amount(cost: str, value: float) -> str:
    return f"{1000 * value:.1f} ms" if cost == "latency" else f"{value / 1e6:,.0f}M"


def _tested(row: "Row") -> str:
    assert row.score
    return f"{100 * row.score.value:.1f} % ({100 * row.score.low:.1f}–{100 * row.score.high:.1f})"
