"""Memory against arrays of a known size."""

import sys

import pytest
from memory_calls import open_calls

from mixtransfer.deploy.memory import peak_memory


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_peak_is_what_a_call_takes_and_the_weights():
    peaks = peak_memory(open_calls)
    assert peaks["small"] == pytest.approx(15e6, abs=3e6)
    assert peaks["large"] == pytest.approx(95e6, abs=3e6)
