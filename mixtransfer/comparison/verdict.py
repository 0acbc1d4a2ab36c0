"""Which model to take: fronts, limits, and the comparison in plain words."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from mixtransfer.classification.metrics import Estimate
from mixtransfer.comparison.rows import Row
from mixtransfer.errors import UserError

UNITS = {
    "latency": {"ms": 1e-3, "s": 1.0},
    "macs": {"": 1.0, "M": 1e6, "G": 1e9},
    "params": {"": 1.0, "K": 1e3, "M": 1e6},
    "size": {"KB": 1e3, "MB": 1e6, "GB": 1e9},
    "memory": {"MB": 1e6, "GB": 1e9},
}


def costs_of(rows: Sequence[Row]) -> dict[str, Callable[[Row], float | None]]:
    """What rows can be compared by, smaller being better: a function for each name.

    "latency" is that of PyTorch; of other runtimes there is a name each, such as "latency onnxruntime".
    """
    costs: dict[str, Callable[[Row], float | None]] = {
        "macs": lambda row: row.cost and row.cost.macs,
        "params": lambda row: row.cost and row.cost.params,
        "size": lambda row: row.cost and row.cost.file_size,
        "memory": lambda row: row.cost and row.cost.memory,
    }
    for runtime in dict.fromkeys(runtime for row in rows if row.cost for runtime in row.cost.latency):
        name = "latency" if runtime == "pytorch" else f"latency {runtime}"
        costs[name] = partial(_latency, runtime=runtime)
    return {name: of for name, of in costs.items() if any(of(row) is not None for row in rows)}


def _latency(row: Row, runtime: str) -> float | None:
    return row.cost.latency[runtime].median if row.cost and runtime in row.cost.latency else None


def front(rows: Sequence[Row], cost: Callable[[Row], float | None]) -> list[Row]:
    """The rows that no other row beats: none is as cheap and more accurate, or as accurate and cheaper."""
    known = [
        ((spent, -row.score.value), row) for row in rows if row.score is not None and (spent := cost(row)) is not None
    ]
    unbeaten = [(place, row) for place, row in known if not any(_beats(other, place) for other, _ in known)]
    return [row for _, row in sorted(unbeaten, key=lambda one: one[0])]


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Of two pairs of cost and negative score."""
    return one != other and one[0] <= other[0] and one[1] <= other[1]


@dataclass(frozen=True)
class Limit:
    """The most that a model may cost.

    Attributes:
        cost: A key of ``UNITS``.
        most: In seconds, bytes or as a count.
        text: As the user wrote it, such as "15ms".
    """

    cost: str
    most: float
    text: str

    @classmethod
    def parse(cls, text: str) -> "Limit":
        """Read a limit such as ``latency=15ms``.

        Raises:
            UserError: It is not understood.
        """
        found = re.fullmatch(r"(\w+)=([\d.]+) ?([A-Za-z]*)", text.strip())
        units = UNITS.get(found[1], {}) if found else {}
        if not found or found[3] not in units or found[2].count(".") > 1 or found[2] == ".":
            raise UserError(
                f"--limit {text!r} is not understood: write latency=15ms, macs=300M, params=5M, size=20MB or "
                "memory=200MB."
            )
        return cls(found[1], float(found[2]) * units[found[3]], f"{found[2]} {found[3]}".strip())


def within(rows: Sequence[Row], limit: Limit) -> Row | None:
    """The most accurate row within the limit; None if there is none.

    Raises:
        UserError: That cost was not measured.
    """
    costs = costs_of(rows)
    if limit.cost not in costs:
        raise UserError(f"--limit {limit.cost} cannot be judged: it was not measured (--rounds 0, or no model).")
    cost = costs[limit.cost]
    fitting = [row for row in front(rows, cost) if (spent := cost(row)) is not None and spent <= limit.most]
    return fitting[-1] if fitting else None


def verdict(rows: Sequence[Row], baseline: Row | None, limit: Limit | None = None) -> list[str]:
    """Sentences for a person who has to choose."""
    scored = [(row, row.score) for row in rows if row.score is not None]
    if not scored:
        return ["No training has finished."]
    best, score = max(scored, key=lambda one: one[1].value)
    sentences = [f"Most accurate: {best.backbone}, {_percent(score.value)} ({_range(score)})."]
    sentences += [
        _against(row, row.difference, baseline)
        for row, _ in scored
        if baseline and row is not baseline and row.difference
    ]
    costs = costs_of(rows)
    main = "latency" if "latency" in costs else "macs"
    if len(scored) > 1 and main in costs:
        steps = [f"{row.backbone} from {_amount(main, costs[main](row) or 0)} on" for row in front(rows, costs[main])]
        where = " on this machine" if main == "latency" else ""
        sentences.append(f"Most accurate by {NAMES[main]} allowed{where}: {', '.join(steps)}.")
    if scored[0][0].seeds == 1:
        sentences.append(
            "With one seed the intervals speak of the test images only, not of how much a training varies."
        )
    if limit:
        sentences.insert(0, _limited(rows, baseline, limit))
    return sentences


NAMES = {"latency": "latency", "macs": "multiply-adds"}


def _against(row: Row, difference: Estimate, baseline: Row) -> str:
    low, high = 100 * difference.low, 100 * difference.high
    if low <= 0 <= high:
        said = (
            f"cannot be told apart from {baseline.backbone} with these {row.test_images:,} test images and "
            f"{row.seeds} seed{'s' * (row.seeds > 1)} (difference {100 * difference.value:+.1f} points, "
            f"{low:+.1f} to {high:+.1f})"
        )
    else:
        said = f"is {_points(difference)} {baseline.backbone}"
    ratios = []
    if row.cost and baseline.cost:
        mine, yours = (cost.latency.get("pytorch") for cost in (row.cost, baseline.cost))
        if mine and yours:
            ratios.append(f"{mine.median / yours.median:.2f} times its latency")
        ratios.append(f"{row.cost.macs / baseline.cost.macs:.2f} times its multiply-adds")
        ratios.append(f"{row.cost.params / baseline.cost.params:.2f} times its parameters")
    return f"{row.backbone} {said}" + (f", with {', '.join(ratios)}." if ratios else ".")


def _limited(rows: Sequence[Row], baseline: Row | None, limit: Limit) -> str:
    row = within(rows, limit)
    where = " on this machine" if limit.cost in ("latency", "memory") else f" of {limit.cost}"
    if row is None or row.score is None:
        return f"Under {limit.text}{where}: none of these."
    more = ""
    if baseline and row is not baseline and row.difference:
        more = f", {_points(row.difference)} {baseline.backbone}"
    return f"Under {limit.text}{where}: {row.backbone}, {_percent(row.score.value)}{more}."


def _points(difference: Estimate) -> str:
    """Such as "1.2 ± 0.6 points below"; the half-width is that of the 95 % interval."""
    value, half = 100 * difference.value, 50 * (difference.high - difference.low)
    return f"{abs(value):.1f} ± {half:.1f} points {'below' if value < 0 else 'above'}"


def _amount(cost: str, value: float) -> str:
    return f"{1000 * value:.1f} ms" if cost == "latency" else f"{value / 1e6:,.0f}M"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def _range(estimate: Estimate) -> str:
    return f"{100 * estimate.low:.1f}–{100 * estimate.high:.1f}"
