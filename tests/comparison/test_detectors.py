"""`compare --task detect`."""

import json

import pytest

from mixtransfer.cli import main
from mixtransfer.data.detection.demo import write_digits_on_photos

pytest.importorskip("detectron2", reason="detectron2 is not installed: python tools/install_detectron2.py")


def test_detectors_are_compared(in_process, tmp_path, capsys):
    data = write_digits_on_photos(tmp_path / "set", 16, 6)
    words = ["--backbones", "mobilenetv3_small_050,mobilenetv3_small_075", "--seeds", "1", "--weights", "none"]
    small = ["--iterations", "4", "--image-size", "96", "--batch-size", "4", "--workers", "0", "--rounds", "1"]
    code = main(["compare", str(data), "--task", "detect", *words, *small, "--output", str(tmp_path / "study")])
    out = capsys.readouterr().out
    first, second = json.loads((tmp_path / "study" / "comparison.json").read_text())
    assert code == 0 and "Most accurate" in out
    assert first["macs"] < second["macs"] and first["image_size"] == 96
    for one in (first, second):
        assert 0 <= one["AP"]["low"] <= one["AP"]["value"] <= one["AP"]["high"] <= 1
        assert set(one["latency"]) == {"pytorch"} and one["memory"] > 0
    assert first["against_baseline"]["mcnemar"] == []
