"""The names of networks with other depthwise kernels: what may follow the dot in ``mobilenetv2_100.mixconv357``.

``mixconv357`` gives every depthwise layer MixConv groups of 3×3, 5×5 and 7×7, and ``depthwise7x7`` one larger kernel.
``-exponential`` after a mixconv asks for exponential groups, ``-dilated`` after either for dilated 3×3 kernels, and
``@5`` at the end changes the fifth depthwise layer only, as the paper's Figure 5 does.
"""

import re
from typing import NamedTuple

# Kernels written one after another are unambiguous because they are odd: a 1 always begins 11, 13 or 15.
_KERNEL = re.compile(r"1[135]|[3579]")
_VARIANT = re.compile(
    rf"(?:mixconv(?P<mixed>(?:{_KERNEL.pattern})+)(?P<exponential>-exponential)?|depthwise(?P<plain>\d+)x(?P=plain))"
    r"(?P<dilated>-dilated)?(?:@(?P<layer>[1-9]\d*))?"
)


HARD_SWISH = "hswish"  # what follows the dot in ``mixnet_s.hswish``; see ``lighter``


class Variant(NamedTuple):
    """Depthwise kernels, one a MixConv group; see ``MixConv2d``. ``layer`` counts from 1; None is every layer."""

    kernel_sizes: tuple[int, ...]
    partition: str = "equal"
    dilated: bool = False
    layer: int | None = None


def parse_variant(suffix: str) -> Variant | None:
    """Read a variant; None if ``suffix`` is none, or its kernels are not odd, at least 3 and rising."""
    match = _VARIANT.fullmatch(suffix)
    if match is None:
        return None
    kernels = [int(k) for k in _KERNEL.findall(match["mixed"])] if match["mixed"] else [int(match["plain"])]
    if kernels != sorted(set(kernels)) or any(k < 3 or k % 2 == 0 for k in kernels):
        return None
    layer = int(match["layer"]) if match["layer"] else None
    return Variant(tuple(kernels), "exponential" if match["exponential"] else "equal", bool(match["dilated"]), layer)
