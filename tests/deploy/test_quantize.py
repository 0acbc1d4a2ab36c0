"""`export --int8`: what it writes, and when it refuses."""

import json
import shutil

import numpy as np
import pytest

from mixtransfer.commandline.cli import main
from mixtransfer.deploy import quantize
from mixtransfer.deploy.exported import open_exported
from mixtransfer.deploy.quantize import Quantization
from mixtransfer.deploy.runtimes import FILE_RUNTIMES

pytest.importorskip("nncf")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")


@pytest.fixture
def exported_before(monkeypatch, exports):
    """`export` writes in no time what was exported before."""

    before = exports("onnx")

    def write(network, metadata, path, half=False):
        shutil.copy(before, path)

    monkeypatch.setattr(FILE_RUNTIMES["onnx"], "write", write)


@pytest.mark.parametrize(("format", "sign"), [("onnx", b"QuantizeLinear"), ("openvino", b"FakeQuantize")])
def test_int8_file_answers_like_the_float_one(format, sign, exports, tmp_path, capfd):
    plain = exports(format)
    for file in plain.parent.glob("model.*"):
        shutil.copy(file, tmp_path)
    small = tmp_path / plain.name
    float32 = open_exported(plain)
    views = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
    capfd.readouterr()
    quantize.quantize_file(small, [float32.to_input(view[None]) for view in views])
    assert format != "onnx" or capfd.readouterr() == ("", "")
    assert sign in small.read_bytes() and sign not in plain.read_bytes()
    int8 = open_exported(small)
    assert int8.metadata == float32.metadata
    expected, found = float32(views)["logits"], int8(views)["logits"]
    # The median: ranges are averaged over images, so that an unusual one may be cut off.
    assert 0 < np.median(np.abs(found - expected)) < 0.2 * np.abs(expected).mean()


def test_export_says_what_int8_costs(classifier, exported_before, tmp_path, capsys):
    target = tmp_path / "model.onnx"
    words = ["export", str(classifier), "--output", str(target), "--check", "2", "--int8", "--int8-limit", "100"]
    assert main([*words, "--json"]) == 0
    outcome = json.loads(capsys.readouterr().out)["int8"]
    assert outcome["score"] == "top-1 accuracy" and outcome["images"] == 3
    assert b"QuantizeLinear" in target.read_bytes()
    written = ["labels.txt", "model.onnx", "model.onnx.json", "predict.py"]
    assert sorted(file.name for file in tmp_path.iterdir()) == written


def test_nothing_is_written_beyond_the_limit(classifier, exported_before, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(quantize.Quantization, "holds", False)
    monkeypatch.setattr(quantize, "quantize_file", lambda path, inputs: None)
    assert main(["export", str(classifier), "--output", str(tmp_path / "m.onnx"), "--check", "1", "--int8"]) == 2
    assert "loses too much: top-1 accuracy" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_limit_is_in_points_and_one_image_may_be_lost():
    assert Quantization("top-1 accuracy", 80.0, 79.2, 500, 1.0).holds
    assert not Quantization("top-1 accuracy", 80.0, 78.8, 500, 1.0).holds
    assert Quantization("top-1 accuracy", 80.0, 76.0, 25, 1.0).holds
    assert not Quantization("average precision", 30.0, 28.0, 25, 1.0).holds
    assert Quantization("average precision", 30.0, 31.0, 25, 0.0).holds


def test_without_the_images_it_says_so(detector, tmp_path, capsys):
    assert main(["export", str(detector), "--output", str(tmp_path / "d.onnx"), "--check", "1", "--int8"]) == 2
    assert "--int8 needs the images that" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--format", "torch"], "--int8 is for onnx, openvino and web"),
        (["--int8-limit", "-1"], "--int8-limit is -1.0"),
    ],
)
def test_options_that_do_not_go_together(words, says, classifier, capsys):
    assert main(["export", str(classifier), "--int8", *words]) == 2
    assert says in capsys.readouterr().err
