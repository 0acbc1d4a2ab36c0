"""Exported detectors against the run's own answers."""

import json

import cv2
import numpy as np
import pytest
import torch
from detecting import example
from sklearn.datasets import load_sample_images

from mixtransfer.backbones.fuse import fuse
from mixtransfer.cli import main
from mixtransfer.deploy.network import suppress
from mixtransfer.detection.model import open_detector
from mixtransfer.detection.ssdlite.postprocess import best_detections


def test_fused_detector_finds_the_same(detector):
    model = open_detector(detector).model
    fused = fuse(model)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fused.modules())
    for size in (96, 75):
        images = model.preprocess([example((size, size))]).tensor
        with torch.inference_mode():
            for expected, found in zip(model.predict(images), fused.predict(images), strict=True):
                assert (expected - found).abs().max() < 1e-5 * expected.abs().max()


def test_suppression_in_a_batch_is_that_of_each_image():
    random = torch.Generator().manual_seed(0)
    corner = 60 * torch.rand(3, 50, 2, generator=random)
    boxes = torch.cat((corner, corner + 5 + 30 * torch.rand(3, 50, 2, generator=random)), -1)
    scores = torch.rand(3, 50, 4, generator=random)
    found = suppress(boxes, scores, 96, 0.4, 20)
    for i in range(3):
        expected = best_detections(scores[i], boxes[i], 0.0, 300, 0.4, 20)
        for one, other in zip(expected, (part[i] for part in found), strict=True):
            torch.testing.assert_close(one, other)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    for i, pixels in enumerate(load_sample_images().images):
        cv2.imwrite(str(folder / f"{i}.png"), pixels)
    (folder / "text.jpg").write_text("no image")
    return folder


@pytest.mark.parametrize("format, suffix, word", [("onnx", ".onnx", "--preprocess"), ("openvino", ".xml", "--raw")])
def test_detect_predict_takes_an_export_like_a_run(format, suffix, word, detector, photographs, tmp_path, capsys):
    pytest.importorskip("onnxruntime" if format == "onnx" else "openvino", reason="pip install 'mixtransfer[export]'")
    target = tmp_path / f"model{suffix}"
    assert main(["export", str(detector), "--format", format, "--output", str(target), word, "--check", "4"]) == 0
    parity = json.loads(target.with_name(target.name + ".json").read_text())["parity"]
    assert "run's data is gone" in parity["source"] and parity["changed"] == 0
    capsys.readouterr()
    answers = []
    for model in (detector, target):
        assert main(["detect", "predict", str(model), str(photographs), "--threshold", "0.3", "--json"]) == 0
        answers.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    assert any(row["objects"] for row in answers[0])
    for one, other in zip(*answers, strict=True):
        assert [found["class"] for found in one["objects"]] == [found["class"] for found in other["objects"]]
        boxes = [[found["box"] for found in row["objects"]] for row in (one, other)]
        np.testing.assert_allclose(*boxes, atol=0.2)
