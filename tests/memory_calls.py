"""Calls of a known size, for a process of their own."""

import numpy as np


def open_calls():
    return 5_000_000, {"small": lambda: np.ones(10_000_000, np.uint8), "large": lambda: np.ones(90_000_000, np.uint8)}
