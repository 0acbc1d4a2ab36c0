"""How long calls take, measured in turns, so that whatever else the machine does hits all alike."""

import random
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from mixtransfer.deploy.energy import EnergyMeter

Key = TypeVar("Key", bound=Hashable)

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


@dataclass
class Sample:
    """Measurements of one call.

    Attributes:
        seconds: Of single calls, shape (rounds, calls in a round).
        joules: That the processors took for all of them; 0 where the machine does not tell.
    """

    seconds: np.ndarray
    joules: float = 0.0


def measure(calls: Mapping[Key, Callable[[], object]], rounds: int = 30) -> dict[Key, Duration]:
    """Time each call in every round, in a new order each time: means of the rounds."""
    return {key: Duration.of(found.seconds.mean(axis=1)) for key, found in sample(calls, rounds).items()}


def sample(calls: Mapping[Key, Callable[[], object]], rounds: int = 30) -> dict[Key, Sample]:
    """Single calls, timed; in every round each has its turn, in a new order.

    One call before each turn is not counted: it brings the network's weights back into the caches.
    """
    repeats = {key: max(1, round(SLICE / min(_seconds(call, 2)))) for key, call in calls.items()}
    seconds: dict[Key, list[list[float]]] = {key: [] for key in calls}
    joules = dict.fromkeys(calls, 0.0)
    order, meter = random.Random(0), EnergyMeter()
    for _ in tqdm(range(rounds), "Measuring latency", leave=False, disable=None):
        for key in order.sample(list(calls), len(calls)):
            calls[key]()
            meter.joules()
            seconds[key].append(_seconds(calls[key], repeats[key]))
            joules[key] += meter.joules()
    return {key: Sample(np.array(values), joules[key]) for key, values in seconds.items()}


def _seconds(call: Callable[[], object], repeats: int) -> list[float]:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds
