"""`mixtransfer models`."""

import json
from functools import cache

import pytest

from mixtransfer.backbones import list_backbones
from mixtransfer.commandline import listing
from mixtransfer.commandline.cli import main


def test_json_lists_every_backbone_with_measured_and_published_numbers(capsys):
    assert main(["models", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == [spec.name for spec in list_backbones()]
    assert all(row["params"] > 1e6 and row["macs"] > 1e7 for row in rows.values())
    mixnet = rows["mixnet_s"]
    assert mixnet["published"]["source"] and mixnet["paper"]["top1"] == 0.758 and mixnet["note"]


def test_table_of_one_family(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["models", "--family", "mixnet"]) == 0
    out = capsys.readouterr().out
    assert "tf_mixnet_l" in out and "resnet50" not in out
    assert max(map(len, out.splitlines())) <= 120


def test_unknown_family_gets_the_known_ones(capsys):
    assert main(["models", "--family", "mixnets"]) == 2
    assert "mobilenetv1" in capsys.readouterr().err


def test_detectors_beside_table_1(capsys, monkeypatch):
    pytest.importorskip("detectron2", reason="detectron2 is not installed: mixtransfer install-detectron2")
    monkeypatch.setattr(listing, "measured_detector", cache(listing.measured_detector))
    assert main(["models", "--task", "detect", "--family", "mobilenetv2", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    row = rows["mobilenetv2_100.mixconv357"]
    assert row["paper"]["ap"] == 0.223 and row["note"] and 3e6 < row["params"] < 4e6
    assert main(["models", "--task", "detect", "--family", "mobilenetv2"]) == 0
    assert "22.3" in capsys.readouterr().out
