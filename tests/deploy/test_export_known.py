"""`export --known`: what a file says of how known images look is what its run says."""

import json

import numpy as np
import pytest
from alone import alone
from exporting import SUFFIXES, needs
from knowing import knowing
from PIL import Image
from tiny import tiny

import mixtransfer as mt
from mixtransfer.classification.known import KnownScore
from mixtransfer.classification.train import train
from mixtransfer.commandline.cli import main
from mixtransfer.deploy.exported import open_exported


@pytest.fixture(scope="module")
def knows(animals, tmp_path_factory):
    """A network that has learnt a little, so that its features of different images differ."""
    runs = tmp_path_factory.mktemp("runs")
    run = train(tiny(animals, runs / "trained", epochs=6, lr=2e-3))
    return knowing(run.folder, animals, runs / "knows")


@pytest.fixture(scope="module")
def pictures(animals, tmp_path_factory):
    """Images of the classes, and noise of several strengths, so that the shares differ."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, path in enumerate(sorted(animals.rglob("*.jpg"))[::3]):
        pixels = np.asarray(Image.open(path)).astype(float)
        noise = np.random.default_rng(number).normal(0, 4 * number, pixels.shape)
        Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    return sorted(folder.iterdir())


def export(run, target, *words):
    assert main(["export", str(run), "--output", str(target), "--known", "--check", "4", *words]) == 0
    return target


@pytest.mark.parametrize(
    ("format", "words"), [(format, []) for format in SUFFIXES] + [("onnx", ["--preprocess", "--softmax"])]
)
def test_every_format_knows_what_the_run_knows(format, words, knows, pictures, tmp_path):
    needs(format)
    file = export(knows, tmp_path / f"model{SUFFIXES[format]}", "--format", format, *words)
    ours, theirs = (mt.load(source).predict(pictures) for source in (knows, file))
    shares = [answer.known for answer in ours]
    assert len({round(share, 2) for share in shares}) > 3, "or any answer would do"
    np.testing.assert_allclose([answer.known for answer in theirs], shares, atol=5e-3)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(b.probabilities, a.probabilities, atol=1e-4)


def test_without_the_option_the_file_is_what_it_was(knows, tmp_path):
    needs("onnx")
    assert main(["export", str(knows), "--output", str(tmp_path / "m.onnx"), "--check", "2"]) == 0
    assert open_exported(tmp_path / "m.onnx").metadata.outputs == ["logits"]
    assert main(["classify", "predict", str(tmp_path / "m.onnx"), str(tmp_path), "--unknown"]) == 2


@pytest.mark.parametrize(
    ("format", "precision"), [("onnx", "fp16"), ("onnx", "int8"), ("openvino", "fp16"), ("litert", "fp16")]
)
def test_smaller_files_know_it_too(format, precision, knows, pictures, tmp_path):
    needs(format)
    words = ["--precision", precision, *(["--int8-limit", "100"] if precision == "int8" else [])]
    file = export(knows, tmp_path / f"model{SUFFIXES[format]}", "--format", format, *words)
    ours, theirs = ([answer.known for answer in mt.load(source).predict(pictures)] for source in (knows, file))
    assert np.abs(np.subtract(ours, theirs)).mean() < 0.15


def test_a_file_that_tells_otherwise_is_not_written(knows, tmp_path, monkeypatch, capsys):
    forward = KnownScore.forward
    calls = []

    def other(self, features):
        calls.append(self)
        return forward(self, features) * (0.5 if len(calls) % 2 else 1)

    monkeypatch.setattr(KnownScore, "forward", other)
    target = tmp_path / "model.pt2"
    assert main(["export", str(knows), "--output", str(target), "--format", "torch", "--known", "--check", "9"]) == 2
    assert "would be wrong" in capsys.readouterr().err and not target.exists()


@pytest.mark.parametrize("format", ["onnx", "openvino", "litert"])
def test_a_stranger_is_told(format, knows, pictures, tmp_path, capsys):
    needs(format)
    file = export(knows, tmp_path / f"model{SUFFIXES[format]}", "--format", format)
    capsys.readouterr()
    assert main(["classify", "predict", str(knows), *map(str, pictures), "--json", "--unknown"]) == 0
    ours = [json.loads(line)["unknown"] for line in capsys.readouterr().out.splitlines()]
    said = alone(file.with_name("predict.py"), *pictures).splitlines()
    assert True in ours and False in ours, "or any answer would do"
    assert [line.endswith("but looks like none of the classes") for line in said] == ours


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--format", "coreml", "--softmax"], "exclude each other of coreml"),
        (["--format", "coreml", "--precision", "fp16"], "is computed in 32 bits"),
    ],
)
def test_what_cannot_be_had(words, says, knows, tmp_path, capsys):
    pytest.importorskip("coremltools", reason="coremltools is not installed: pip install 'mixtransfer[coreml]'")
    assert main(["export", str(knows), "--known", "--output", str(tmp_path / "m.mlpackage"), *words]) == 2
    assert says in capsys.readouterr().err


def test_a_detector_has_no_such_measure(detector, capsys):
    assert main(["export", str(detector), "--known"]) == 2
    assert "--known is for classifiers" in capsys.readouterr().err
