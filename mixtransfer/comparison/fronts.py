"""What rows cost, which of them no other beats, and which is best within a limit."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

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

    "latency" is that of PyTorch; of other runtimes there is a name each, such as "latency onnxruntime".
    """
    costs: dict[str, Value] = {
        "macs": lambda row: row.cost and row.cost.macs,
        "params": lambda row: row.cost and row.cost.params,
        "size": lambda row: row.cost and row.cost.file_size,
        "memory": lambda row: row.cost and row.cost.memory,
    }
    for runtime in dict.fromkeys(runtime for row in rows if row.cost for runtime in row.cost.latency):
        name = "latency" if runtime == "pytorch" else f"latency {runtime}"
        costs[name] = partial(_latency, runtime=runtime)
    return {name: of for name, of in costs.items() if any(of(row) is not None for row in rows)}


def _latency(row: "Row", runtime: str) -> float | None:
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


def within(rows: Sequence["Row"], limit: Limit, merit: Value) -> "Row | None":
    """The best row within the limit; None if there is none.

    Raises:
        UserError: That cost was not measured.
    """
    costs = costs_of(rows)
    if limit.cost not in costs:
        raise UserError(f"--limit {limit.cost} cannot be judged: it was not measured (--rounds 0, or no model).")
    cost = costs[limit.cost]
    fitting = [row for row in front(rows, cost, merit) if (spent := cost(row)) is not None and spent <= limit.most]
    return fitting[-1] if fitting else None
