"""`compare --task detect`."""

import json
from pathlib import Path

import pytest

from mixtransfer.commandline.cli import main
from mixtransfer.comparison.cost import measure_costs
from mixtransfer.data.detection.demo import write_digits_on_photos
from mixtransfer.deploy.runtimes import MEASURED, RUNTIMES
from mixtransfer.runs.run import Run

pytest.importorskip("detectron2", reason="detectron2 is not installed: mixtransfer install-detectron2")


def test_detectors_are_compared(in_process, tmp_path, capsys):
    data = write_digits_on_photos(tmp_path / "set", 16, 6)
    words = ["--backbones", "mobilenetv3_small_050,mobilenetv3_small_075", "--seeds", "1", "--weights", "none"]
    small = ["--iterations", "4", "--image-size", "96", "--batch-size", "4", "--workers", "0", "--rounds", "0"]
    code = main(["compare", str(data), "--task", "detect", *words, *small, "--output", str(tmp_path / "study")])
    out = capsys.readouterr().out
    first, second = json.loads((tmp_path / "study" / "comparison.json").read_text())
    assert code == 0 and "Most accurate" in out
    assert first["macs"] < second["macs"] and first["image_size"] == 96
    for one in (first, second):
        assert 0 <= one["AP"]["low"] <= one["AP"]["value"] <= one["AP"]["high"] <= 1
    assert first["against_baseline"]["mcnemar"] == []
    cost = measure_costs({"one": Run(Path(first["runs"][0]))}, "detect", 1, print)["one"]
    assert set(cost.latency) == {name for name in MEASURED if RUNTIMES[name].installed}, cost.unavailable
    assert cost.memory > 0 and cost.macs == first["macs"]
