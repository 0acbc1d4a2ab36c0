"""Many callers of one model at once."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

THREADS = 8


def in_threads(function: Callable, values: Sequence) -> list:
    """The function of each value, by several threads at once."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(function, values))


def pictures(count: int, width: int = 40, height: int = 50) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    """Unlike each other: noise of several brightness."""
    generator = np.random.default_rng(0)
    most = np.linspace(20, 256, count).astype(int)
    return [generator.integers(0, high, (height, width, 3), dtype=np.uint8) for high in most]
