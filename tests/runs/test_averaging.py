"""The moving average of the weights, against its closed form."""

import pytest
from torch import nn

from mixtransfer.runs.averaging import MovingAverage


def averages(values: list[float], window: float) -> list[float]:
    """Of a network of one weight that has these values one after the other."""
    model = nn.Linear(1, 1, bias=False)
    average = MovingAverage(model, window)
    result = []
    for value in values:
        nn.init.constant_(model.weight, value)
        average.update_parameters(model)
        result.append(average.module.weight.item())
    return result


def test_the_start_is_forgotten_though_the_window_is_long():
    assert averages([1.0] + [0.0] * 19, 1e9)[-1] < 0.01


def test_it_is_half_of_the_updates_at_first():
    """Weights that grow evenly are averaged as they were a third of the way back."""
    assert averages([float(i) for i in range(300)], 1e9)[-1] / 299 == pytest.approx(2 / 3, abs=0.01)


def test_later_it_reaches_back_over_the_window():
    steps = averages([0.0] * 100 + [1.0] * 10, 10.0)
    assert steps[100:] == pytest.approx([1 - 0.9**i for i in range(1, 11)], abs=1e-6)


def test_buffers_of_whole_numbers_are_taken():
    model = nn.BatchNorm1d(1)
    average = MovingAverage(model, 2)
    for _ in range(3):
        model.num_batches_tracked += 2
        average.update_parameters(model)
    assert 2 <= average.module.num_batches_tracked <= 6


def test_an_update_reads_nothing_on_the_device():
    """On "meta" there is nothing to read."""
    model = nn.BatchNorm1d(1, device="meta")
    average = MovingAverage(model, 10)
    for _ in range(3):
        average.update_parameters(model)
    assert average.n_averaged == 3


@pytest.mark.parametrize(("window", "share"), [(0.5, 0.5), (2, 0.5), (4, 0.75)])
def test_the_shortest_window_is_two_updates(window, share):
    assert averages([1.0] * 50 + [0.0], window)[-1] == pytest.approx(share)
