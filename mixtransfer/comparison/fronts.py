"""What rows cost, which of them no other beats, and which is best within a limit."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from mixtransfer.deploy.runtimes import RUNTIMES
from mixtransfer.errors import UserError

if TYPE_CHECKING:
    from mixtransfer.comparison.rows import Row

UNITS = {
    "latency": {"ms": 1e-3, "s": 1.0},
    "macs": {"": 1.0, "M": 1e6, "G": 1e9},
    "params": {"": 1.0, "K": 1e3, "M": 1e6},
    "size": {"KB": 1e3, "MB": 1e6, "GB": 1e9},
    "memory": {"MB": 1e6, "GB": 1e9},
}

Value: TypeAlias = Callable[["Row"], float | None]


def costs_of(rows: Sequence["Row"]) -> dict[str, Value]:
    """What rows can be compared by, smaller being better: a function for each name.

    "latency" is that of each row's fastest runtime; "latency.onnxruntime" and the like that of one.
    """
    costs: dict[str, Value] = {
        "macs": lambda row: row.cost and row.cost.macs,
        "params": lambda row: row.cost and row.cost.params,
        "size": lambda row: row.cost and row.cost.file_size,
        "memory": lambda row: row.cost and row.cost.memory,
        "latency": lambda row: _latency(row, row.cost and row.cost.fastest),
    }
    for runtime in dict.fromkeys(runtime for row in rows if row.cost for runtime in row.cost.latency):
        costs[f"latency.{runtime}"] = partial(_latency, runtime=runtime)
    return {name: of for name, of in costs.items() if any(of(row) is not None for row in rows)}


def _latency(row: "Row", runtime: str | None) -> float | None:
    return row.cost.latency[runtime].median if row.cost and runtime in row.cost.latency else None


def tested(row: "Row") -> float | None:
    """The score on the test images."""
    return row.score.value if row.score else None


def front(rows: Sequence["Row"], cost: Value, merit: Value = tested) -> list["Row"]:
    """The rows that no other row beats: none is as cheap and better, or as good and cheaper.

    Args:
        merit: What is better when larger.
    """
    known = [
        ((spent, -good), row) for row in rows if (good := merit(row)) is not None and (spent := cost(row)) is not None
    ]
    unbeaten = [(place, row) for place, row in known if not any(_beats(other, place) for other, _ in known)]
    return [row for _, row in sorted(unbeaten, key=lambda one: one[0])]


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Of two pairs of cost and negative merit."""
    return one != other and one[0] <= other[0] and one[1] <= other[1]


@dataclass(frozen=True)
class Limit:
    """The most that a model may cost.

    Attributes:
        cost: A key of ``costs_of``, such as "latency" or "latency.openvino".
        most: In seconds, bytes or as a count.
        text: As the user wrote it, such as "15 ms".
    """

    cost: str
    most: float
    text: str

    @classmethod
    def parse(cls, text: str) -> "list[Limit]":
        """Read limits such as ``latency.onnxruntime=15ms,size=10MB``.

        Raises:
            UserError: One is not understood.
        """
        return [cls._parse_one(part) for part in text.split(",")]

    @classmethod
    def _parse_one(cls, text: str) -> "Limit":
        found = re.fullmatch(r"(\w+)((?:\.[\w.]+)?)=([\d.]+) ?([A-Za-z]*)", text.strip())
        units = UNITS.get(found[1], {}) if found else {}
        if not found or found[4] not in units or found[3].count(".") > 1 or found[3] == ".":
            raise UserError(
                f"--limit {text!r} is not understood: write latency=15ms, latency.onnxruntime=15ms, macs=300M, "
                "params=5M, size=20MB or memory=200MB, several with commas between."
            )
        if found[2] and (found[1] != "latency" or found[2][1:] not in RUNTIMES):
            raise UserError(f"--limit {text!r}: after latency stands a runtime: {', '.join(RUNTIMES)}.")
        return cls(found[1] + found[2], float(found[3]) * units[found[4]], f"{found[3]} {found[4]}".strip())


def within(rows: Sequence["Row"], limits: Sequence[Limit], merit: Value) -> "Row | None":
    """The best row within all the limits, of equals that with the fewest multiply-adds; None if there is none.

    Raises:
        UserError: A cost was not measured.
    """
    costs = costs_of(rows)
    for limit in limits:
        if limit.cost not in costs:
            why = "--rounds 0, no model, or no such runtime"
            raise UserError(f"--limit {limit.cost} cannot be judged: it was not measured ({why}).")

    def fits(row: "Row") -> bool:
        return all((spent := costs[limit.cost](row)) is not None and spent <= limit.most for limit in limits)

    fitting = [
        (good, -(costs["macs"](row) or 0), row) for row in rows if (good := merit(row)) is not None and fits(row)
    ]
    return max(fitting, key=lambda one: one[:2])[2] if fitting else None
