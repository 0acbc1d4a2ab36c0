"""Calls of a known size, for a process of their own."""

import numpy as np

kept = []


def load():
    kept.append(np.ones(60_000_000, np.uint8))


def open_calls():
    model = np.ones(40_000_000, np.uint8)

    def call(size: int):
        return model.size + np.ones(size, np.uint8).size

    return {"small": lambda: call(40_000_000), "large": lambda: call(90_000_000)}
