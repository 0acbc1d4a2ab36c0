import json

import numpy as np
import pytest

from mixtransfer.errors import UserError
from mixtransfer.search.latency import LatencyModel, contents, latencies, learn_latency
from mixtransfer.search.space import Space

SPACE = Space.of_width(0.3, 32, 5)


def drawn(count):
    generator = np.random.default_rng(0)
    return [SPACE.architecture(SPACE.sample(generator)) for _ in range(count)]


def test_contents_add_up_to_the_multiply_adds():
    for architecture in drawn(5):
        _, points, *depthwise, _, _, _ = contents(architecture)
        stem, classifier = 16**2 * 27 * architecture.stem, architecture.head * 5
        middles = [block for block in architecture if block.se]
        squeezes = architecture.macs(num_classes=5) - points - sum(depthwise) - stem - classifier
        assert squeezes >= 0 and (squeezes > 0) == bool(middles)


def test_times_of_what_is_computed_are_found():
    networks = drawn(40)
    rates = np.random.default_rng(1).uniform(0.1, 1, len(contents(networks[0])))
    rates /= np.mean([contents(one) for one in networks], axis=0) + 1e-9
    model = LatencyModel.fit(networks, [float(np.dot(rates, contents(one))) for one in networks], 10)
    assert model.worst < 0.02 and model(networks[0]) == pytest.approx(
        float(np.dot(rates, contents(networks[0]))), rel=0.02
    )


def test_the_error_is_of_networks_that_it_was_not_fitted_to():
    networks = drawn(30)
    seconds = [1.0] * 20 + [2.0] * 10
    assert LatencyModel.fit(networks, seconds, 10).error == pytest.approx(0.5, abs=0.1)


def test_it_is_measured_once_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("mixtransfer.search.latency.FITTED", 4)
    monkeypatch.setattr("mixtransfer.search.latency.HELD_OUT", 2)
    monkeypatch.setattr("mixtransfer.search.latency.ROUNDS", 2)
    said, file = [], tmp_path / "latency.json"
    model = learn_latency(SPACE, "pytorch", file, said.append)
    assert "Latency is estimated within" in said[-1] and 0 < model(drawn(1)[0]) < 1
    monkeypatch.setattr("mixtransfer.search.latency.latencies", None)
    assert learn_latency(SPACE, "pytorch", file, said.append) == model
    file.write_text(json.dumps({"times": "x"}))
    with pytest.raises(UserError, match="latency.json is damaged"):
        learn_latency(SPACE, "pytorch", file, said.append)


def test_a_runtime_of_its_own(monkeypatch):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install 'mixtransfer[export]'")
    monkeypatch.setattr("mixtransfer.search.latency.ROUNDS", 1)
    assert all(0 < seconds < 1 for seconds in latencies(drawn(2), "onnxruntime", 5))
