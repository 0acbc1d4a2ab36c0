"""Memory against arrays of a known size."""

import sys

import pytest
from memory_calls import load, open_calls

from mixtransfer.deploy.memory import peak_memory


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_peak_is_what_a_call_takes_and_what_was_opened_but_not_what_was_loaded_before():
    peaks = peak_memory(load, open_calls)
    assert peaks["small"] == pytest.approx(80e6, abs=3e6)
    assert peaks["large"] == pytest.approx(130e6, abs=3e6)
