"""What numbers options and arguments may have."""

from math import inf
from numbers import Integral, Real
from typing import Any

from mixtransfer.errors import UserError, ValueRefused

AT_LEAST_0, AT_LEAST_1, ABOVE_0, SHARE = (0, inf), (1, inf), (1e-9, inf), (0, 1)
SEED = (0, 2**32 - 1)  # what numpy takes


def check_ranges(options: object, **ranges: tuple[float, float]) -> None:
    """Refuse numbers outside of their range; what is no number, as None or "auto", is left alone.

    Args:
        options: An instance of an option class.
        ranges: Smallest and largest value of options by name.

    Raises:
        UserError: It names the option.
    """
    for name, (low, high) in ranges.items():
        value = getattr(options, name)
        if isinstance(value, int | float) and not (low <= value <= high and value != inf):
            words = f"be at least {low}" if high == inf else f"lie between {low} and {high}"
            words = "be finite" if value == inf else words
            raise UserError(f"--{name.replace('_', '-')} is {value}; it must {words}.")


def whole(name: str, value: Any, least: float = 0, most: float = inf) -> int:
    """An argument that is a whole number, as Python's int: of numpy's too, and 2.0 is 2; True is none, and no text.

    Args:
        name: Of the argument.
        value: As the user gives it.
        least, most: Its range.

    Raises:
        ValueRefused: It is something else, or outside of its range.
    """
    number = as_whole(value)
    if number is None or not least <= number <= most:
        words = f"of at least {least}" if most == inf else f"from {least} to {most}"
        raise ValueRefused(f"{name} is {value!r}; it must be a whole number {words}.")
    return number


def as_whole(value: Any) -> int | None:
    """A whole number of whatever kind as Python's int; None of anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, Integral):
        return int(value)
    return int(float(value)) if isinstance(value, Real) and float(value).is_integer() else None
