"""Latencies are of what was asked."""

import time

from mixtransfer.deploy.latency import measure


def test_measured_durations_are_those_of_the_calls():
    calls = {"short": lambda: time.sleep(0.01), "long": lambda: time.sleep(0.04)}
    durations = measure(calls, rounds=5)
    for name, seconds in (("short", 0.01), ("long", 0.04)):
        duration = durations[name]
        assert seconds <= duration.low <= duration.median <= duration.high
    assert durations["short"].median < durations["long"].median
