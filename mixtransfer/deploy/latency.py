"""How long calls take, measured in turns, so that whatever else the machine does hits all alike."""

import random
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

SLICE = 0.03  # seconds for which a call is repeated in each round


@dataclass(frozen=True)
class Duration:
    """Seconds a call, over the rounds: the median, and the 10th and 90th percentile."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, seconds: np.ndarray) -> "Duration":
        low, median, high = np.percentile(seconds, [10, 50, 90])
        return cls(float(median), float(low), float(high))


def measure(calls: Mapping[Hashable, Callable[[], object]], rounds: int = 30) -> dict[Hashable, Duration]:
    """Time each call in every round, in a new order each time.

    One call before each measurement is not counted: it brings the network's weights back into the caches.
    """
    repeats = {key: max(1, round(SLICE / _seconds(call, 2))) for key, call in calls.items()}
    seconds: dict[Hashable, list[float]] = {key: [] for key in calls}
    order = random.Random(0)
    for _ in tqdm(range(rounds), "Measuring latency", leave=False, disable=None):
        for key in order.sample(list(calls), len(calls)):
            calls[key]()
            seconds[key].append(_seconds(calls[key], repeats[key]))
    return {key: Duration.of(np.array(values)) for key, values in seconds.items()}


def _seconds(call: Callable[[], object], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats
