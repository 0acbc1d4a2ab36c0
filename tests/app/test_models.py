"""The page's models answer what `predict` answers, and only models that fit together are opened."""

import numpy as np
import pytest
from app_runs import BACKBONE

from mixtransfer.app.answers import look
from mixtransfer.app.models import open_models
from mixtransfer.classification.options import PredictOptions
from mixtransfer.classification.predict import predict
from mixtransfer.commandline.cli import main
from mixtransfer.detection.thresholds import above
from mixtransfer.errors import UserError


def _nothing(done, total):
    pass


def test_same_probabilities_as_classify_predict(runs, classifiers, images):
    for number, run in enumerate(runs):
        expected = [dict(one.top) for one in predict(PredictOptions(str(run), [*map(str, images)], device="cpu"))]
        for image, probabilities in zip(look(images, classifiers, 9, 9, _nothing).images, expected, strict=True):
            ours = dict(
                zip(classifiers[number].classes, image.answers[number].seen.probabilities.tolist(), strict=True)
            )
            assert ours == pytest.approx(probabilities, abs=1e-5)


def test_same_boxes_as_detect_predict(detector_run, images):
    from mixtransfer.detection.options import PredictOptions
    from mixtransfer.detection.predict import RunDetector, predict

    models = open_models([str(detector_run)], "cpu")
    seen = [image.answers[0].seen for image in look(images, models, 9, 9, _nothing).images]
    threshold = float(np.median(seen[0].scores))
    predictor = RunDetector(str(detector_run), "cpu", threshold)
    for found, one in zip(
        predict(PredictOptions(str(detector_run), [*map(str, images)]), predictor), seen, strict=True
    ):
        ours = above(one, threshold)
        assert len(ours.boxes)
        np.testing.assert_allclose(ours.boxes, found.detections.boxes[: len(ours.boxes)], atol=1e-3)
        np.testing.assert_allclose(ours.scores, found.detections.scores[: len(ours.scores)], atol=1e-5)


def test_what_is_known_of_a_model(classifiers):
    assert [model.name for model in classifiers] == ["first", "second"]
    assert {model.network for model in classifiers} == {BACKBONE}


def test_an_exported_file_beside_its_run(runs, images, tmp_path):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install 'mixtransfer[export]'")
    file = tmp_path / "model.onnx"
    words = ["--output", str(file), "--images", str(images[0].parent)]
    assert main(["export", str(runs[0]), *words]) == 0
    models = open_models([str(runs[0]), str(file)], "cpu")
    assert [model.name for model in models] == ["first", "model.onnx"]
    assert [model.network for model in models] == [BACKBONE, f"{BACKBONE}, ONNX Runtime"]
    for image in look(images, models, 9, 9, _nothing).images:
        one, other = (answer.seen.probabilities for answer in image.answers)
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_models_that_do_not_fit(runs, detector_run, tmp_path):
    for paths, words in [
        ([runs[0], detector_run], "boxes for detection: name two of one task"),
        ([runs[0], runs[0]], "is given twice"),
        ([*runs, runs[0]], "one or two models, not 3"),
        ([tmp_path], "is not a run"),
    ]:
        with pytest.raises(UserError, match=words):
            open_models([str(path) for path in paths])
