"""What numbers options may have."""

from math import inf

from mixtransfer.errors import UserError

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
        if isinstance(value, int | float) and not low <= value <= high:
            words = f"be at least {low}" if high == inf else f"lie between {low} and {high}"
            raise UserError(f"--{name.replace('_', '-')} is {value}; it must {words}.")
