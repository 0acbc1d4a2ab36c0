"""Exported detectors against the run's own answers."""

import json
import shutil

import cv2
import numpy as np
import pytest
import torch
from detecting import example
from exporting import SUFFIXES, needs
from sklearn.datasets import load_sample_images

from mixtransfer.backbones.fuse import fuse
from mixtransfer.commandline.cli import main
from mixtransfer.deploy.network import Choice, suppress
from mixtransfer.detection.model import open_detector
from mixtransfer.detection.ssdlite.postprocess import best_detections
from mixtransfer.errors import UserError
from mixtransfer.prediction import load


def test_fused_detector_finds_the_same(detector):
    model = open_detector(detector).model
    fused = fuse(model)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fused.modules())
    for size in (96, 75):
        images = model.preprocess([example((size, size))]).tensor
        with torch.inference_mode():
            for expected, found in zip(model.predict(images), fused.predict(images), strict=True):
                assert (expected - found).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("agnostic", [False, True])
def test_suppression_in_a_batch_is_that_of_each_image(agnostic):
    random = torch.Generator().manual_seed(0)
    corner = 60 * torch.rand(3, 50, 2, generator=random)
    boxes = torch.cat((corner, corner + 5 + 30 * torch.rand(3, 50, 2, generator=random)), -1)
    scores = torch.rand(3, 50, 4, generator=random)
    found = suppress(boxes, scores, 96, Choice(0.4, 20, agnostic))
    for i in range(3):
        expected = best_detections(scores[i], boxes[i], 0.0, 300, 0.4, 20, agnostic)
        for one, other in zip(expected, (part[i] for part in found), strict=True):
            torch.testing.assert_close(one, other)


def test_suppression_finds_as_many_as_the_limit_says():
    corner = 20.0 * torch.arange(1500)[None, :, None].expand(1, 1500, 2)
    boxes = torch.cat((corner, corner + 10), -1)
    _, scores, _ = suppress(boxes, torch.linspace(1, 0.5, 1500)[None, :, None], 30_010, Choice(0.5, 1200))
    assert scores.shape == (1, 1200) and (scores > 0).all()


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    for i, pixels in enumerate(load_sample_images().images):
        cv2.imwrite(str(folder / f"{i}.png"), pixels)
    (folder / "text.jpg").write_text("no image")
    return folder


def answers_of(model, photographs, capsys, *words):
    """What `detect predict` says of each photograph."""
    capsys.readouterr()
    assert main(["detect", "predict", str(model), str(photographs), "--json", *words]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    "format, word", [("onnx", "--preprocess"), ("openvino", "--raw"), ("executorch", "--raw"), ("litert", "--raw")]
)
def test_detect_predict_takes_an_export_like_a_run(format, word, detector, photographs, tmp_path, capsys):
    needs(format)
    target = tmp_path / f"model{SUFFIXES[format]}"
    assert main(["export", str(detector), "--format", format, "--output", str(target), word, "--check", "4"]) == 0
    parity = json.loads(target.with_name(target.name + ".json").read_text())["parity"]
    assert "run's data cannot be read" in parity["source"] and parity["changed"] == 0
    answers = [answers_of(model, photographs, capsys, "--threshold", "0.3") for model in (detector, target)]
    assert any(row["objects"] for row in answers[0])
    for one, other in zip(*answers, strict=True):
        assert [found["class"] for found in one["objects"]] == [found["class"] for found in other["objects"]]
        boxes = [[found["box"] for found in row["objects"]] for row in (one, other)]
        np.testing.assert_allclose(*boxes, atol=0.2)


@pytest.mark.parametrize("word", ["--preprocess", "--raw"])
def test_the_most_objects_of_an_image_hold_for_exported_files_too(word, detector, photographs, tmp_path, capsys):
    pytest.importorskip("onnxruntime", reason="pip install 'mixtransfer[export]'")
    target = tmp_path / "model.onnx"
    words = ["export", str(detector), "--output", str(target), word, "--check", "2", "--max-detections", "7"]
    assert main(words) == 0
    predict = ["detect", "predict", str(target), str(photographs), "--threshold", "0", "--json"]
    for most, given in ((7, []), (2, ["--max-detections", "2"])):
        capsys.readouterr()
        assert main([*predict, *given]) == 0
        out, err = capsys.readouterr()
        assert max(len(json.loads(line)["objects"]) for line in out.splitlines()) == most
        assert f"has {most} objects or more" in err
    code = main([*predict, "--max-detections", "9"])
    out, err = capsys.readouterr()
    if word == "--raw":
        assert code == 0 and max(len(json.loads(line)["objects"]) for line in out.splitlines()) == 9
    else:
        assert code == 2 and "finds at most 7 objects in an image: export the run with --max-detections 9" in err
    assert main([*predict, "--max-detections", "0"]) == 2


@pytest.mark.parametrize("word", ["--preprocess", "--raw"])
def test_an_export_has_the_thresholds_of_its_run(word, detector, photographs, tmp_path, capsys):
    pytest.importorskip("onnxruntime", reason="pip install 'mixtransfer[export]'")
    run = tmp_path / "run"
    shutil.copytree(detector, run)
    card = json.loads((run / "model.json").read_text())
    card["details"]["thresholds"] = {"cat": 1.0, "dog": 0.3, "emu": 0.36}
    (run / "model.json").write_text(json.dumps(card))
    target = tmp_path / "model.onnx"
    most = ["--max-detections", "500"]  # what a file finds at most is cut before the thresholds
    assert main(["export", str(run), "--output", str(target), word, "--check", "4", *most]) == 0
    answers = [
        [
            [(one["class"], one["score"]) for one in row["objects"]]
            for row in answers_of(model, photographs, capsys, *most)
        ]
        for model in (run, target)
    ]
    for one, other in zip(*answers, strict=True):
        assert [name for name, _ in one] == [name for name, _ in other]
        assert [score for _, score in one] == pytest.approx([score for _, score in other], abs=1e-3)
    shown = {name: [score for row in answers[0] for one, score in row if one == name] for name in ("cat", "dog", "emu")}
    assert not shown["cat"] and min(shown["dog"]) >= 0.3 and min(shown["emu"]) >= 0.36
    assert load(target).thresholds == load(run, "cpu").thresholds == [1.0, 0.3, 0.36]
    with pytest.raises(UserError, match="--threshold is 1.2"):
        load(target, threshold=1.2)


CHOSEN = ["--nms", "0.3", "--class-agnostic", "--min-score", "0.2", "--classes", "dog,emu", "--max-detections", "6"]


@pytest.mark.parametrize("word", ["--preprocess", "--raw"])
def test_a_letterboxed_detector_and_what_it_was_told_to_find(word, detector, photographs, tmp_path, capsys):
    """The run told so at prediction, and the export with it inside, in pixels of images that are no squares."""
    pytest.importorskip("onnxruntime", reason="pip install 'mixtransfer[export]'")
    run = tmp_path / "run"
    shutil.copytree(detector, run)
    card = json.loads((run / "model.json").read_text())
    card["preprocessing"]["resize"] = "letterbox"
    (run / "model.json").write_text(json.dumps(card))
    target = tmp_path / "model.onnx"
    assert main(["export", str(run), "--output", str(target), word, "--check", "4", *CHOSEN]) == 0
    asked = ["--threshold", "0.2"]
    answers = [
        answers_of(run, photographs, capsys, *asked, *CHOSEN[:3], *CHOSEN[5:]),
        answers_of(target, photographs, capsys, *asked),
    ]
    names = [found["class"] for row in answers[0] for found in row["objects"]]
    assert set(names) <= {"dog", "emu"} and names and max(len(row["objects"]) for row in answers[0]) <= 6
    for one, other in zip(*answers, strict=True):
        assert [found["class"] for found in one["objects"]] == [found["class"] for found in other["objects"]]
        boxes = [[found["box"] for found in row["objects"]] for row in (one, other)]
        np.testing.assert_allclose(*boxes, atol=0.2)
    sizes = [cv2.imread(row["path"]).shape[1::-1] for row in answers[0]]
    for row, (width, height) in zip(answers[0], sizes, strict=True):
        for found in row["objects"]:
            assert 0 <= found["box"][0] < found["box"][2] <= width and 0 <= found["box"][1] < found["box"][3] <= height


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--classes", "cow"], "--classes names 'cow', which is none of the detector's: cat, dog, emu"),
        (["--nms", "2"], "--nms is 2.0; it must lie between 0 and 1"),
        (["--max-detections", "50000"], "--max-detections is 50000; it must lie between 1 and 10000"),
    ],
)
def test_choices_that_an_export_cannot_have(words, says, detector, tmp_path, capsys):
    assert main(["export", str(detector), "--output", str(tmp_path / "m.onnx"), *words]) == 2
    assert says in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_what_is_settled_in_an_export_is_not_asked_for_at_prediction(tmp_path, capsys):
    (tmp_path / "m.onnx").touch()
    assert main(["detect", "predict", str(tmp_path / "m.onnx"), "x.jpg", "--nms", "0.3"]) == 2
    assert "--nms is settled in exported files: export the run with --nms" in capsys.readouterr().err


def test_a_classifier_has_no_boxes_to_choose(classifier, tmp_path, capsys):
    assert main(["export", str(classifier), "--output", str(tmp_path / "m.onnx"), "--nms", "0.3"]) == 2
    assert "--nms is for detectors" in capsys.readouterr().err
