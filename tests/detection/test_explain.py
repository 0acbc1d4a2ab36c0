"""Where a detector reads its boxes' classes from: maps against occlusion, and where they are shown."""

import json
from copy import deepcopy

import numpy as np
import pytest
import torch
from PIL import Image

import mixtransfer as mt
from mixtransfer.commandline.cli import main
from mixtransfer.errors import UserError

pytest.importorskip("detectron2", reason="detectron2 is not installed: mixtransfer install-detectron2")

from mixtransfer.detection.explain import _anchor_of, _map_of, explain_boxes  # noqa: E402
from mixtransfer.detection.predict import RunDetector  # noqa: E402


@pytest.fixture(scope="module")
def detector(finished):
    return RunDetector(str(finished.folder), "cpu", threshold=0.01, max_detections=4)


@pytest.fixture(scope="module")
def image(digits):
    return Image.open(sorted(digits.rglob("*.jpg"))[0]).convert("RGB")


def scores_at_boxes(detector, view, found):
    """Of each box that is found in a view the score of its class at its anchor."""
    model = detector.model
    planes = torch.from_numpy(np.ascontiguousarray(view.transpose(2, 0, 1)))
    with torch.inference_mode():
        logits, deltas, anchors = model.predict(model.preprocess([{"image": planes}]).tensor)
        boxes = model.box_transform.apply_deltas(deltas[0], anchors).clamp(0, view.shape[0]).numpy()
        scores = model.classification_loss.scores(logits[0]).numpy()
    rows = zip(found.boxes, found.scores.tolist(), found.labels.tolist(), strict=True)
    return [(_anchor_of(boxes, scores[:, label], box, score), label) for box, score, label in rows], logits[0].numpy()


def test_each_box_has_a_map_and_the_score_that_it_was_found_with(detector, image):
    why = explain_boxes(detector, image)
    found = detector(image)
    assert len(why.found.boxes) == len(found.boxes) == len(why.weights) > 0
    assert why.weights.min() >= 0 and why.weights.max() == pytest.approx(1, abs=0.2)
    np.testing.assert_allclose(detector.square.back(why.found.boxes, *image.size), found.boxes, atol=0.1)
    anchors, logits = scores_at_boxes(detector, why.view, why.found)
    scores = detector.model.classification_loss.scores(torch.from_numpy(logits)).numpy()
    for (anchor, label), score in zip(anchors, found.scores, strict=True):
        assert scores[anchor, label] == pytest.approx(float(score), abs=1e-4)
    assert why.drawn().size == (detector.square.size,) * 2


def test_a_map_is_what_speaks_for_a_logit_on_the_finest_map_that_it_depends_on():
    generator = torch.Generator().manual_seed(0)
    fine, coarse = (torch.randn(1, 3, side, side, generator=generator, requires_grad=True) for side in (8, 4))
    weights = torch.randn(1, 3, 4, 4, generator=generator)
    found = _map_of((weights * coarse).sum(), [fine, coarse], 4)
    expected = (weights.relu() * coarse.detach().relu())[0].sum(0)
    np.testing.assert_allclose(found, expected / expected.max(), atol=1e-6)
    assert _map_of(fine.square().sum() + coarse.sum(), [fine, coarse], 8).shape == (8, 8)
    assert not _map_of((0 * coarse).sum(), [fine, coarse], 4).any()


def test_what_is_hidden_where_a_map_is_bright_matters_more(detector, image):
    why = explain_boxes(detector, image)
    anchors, before = scores_at_boxes(detector, why.view, why.found)
    side, bright, dark = 24, [], []
    for (anchor, label), weights in zip(anchors, why.weights, strict=True):
        sums = np.lib.stride_tricks.sliding_window_view(weights, (side, side))[::4, ::4].sum((2, 3))
        for place, changes in ((sums.argmax(), bright), (sums.argmin(), dark)):
            top, left = (4 * int(i) for i in np.unravel_index(place, sums.shape))
            hidden = why.view.copy()
            hidden[top : top + side, left : left + side] = 124
            _, after = scores_at_boxes(detector, hidden, why.found)
            changes.append(before[anchor, label] - after[anchor, label])
    assert np.mean(bright) > 0 and np.mean(bright) > 1.5 * abs(np.mean(dark))


def test_a_network_of_other_weights_has_other_maps(detector, image):
    """The sanity check of Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018."""
    why = explain_boxes(detector, image)
    other = deepcopy(detector)
    torch.manual_seed(0)
    for parameter in other.model.parameters():
        if parameter.ndim > 1:
            parameter.data = parameter.data.flatten()[torch.randperm(parameter.numel())].view_as(parameter)
    changed = explain_boxes(other, image, detector(image))
    apart = []
    for one, another in zip(why.weights, changed.weights, strict=True):
        speaks = np.maximum(one, another) > 0.1  # elsewhere both are dark: a head's cell sees its neighbours alone
        apart.append(np.abs(one - another)[speaks].mean())
    assert np.mean(apart) > 0.1
    np.testing.assert_array_equal(explain_boxes(detector, image).weights, why.weights)


def test_nothing_found_is_nothing_to_explain(detector, image):
    none = detector(image).chosen(slice(0))
    why = explain_boxes(detector, image, none)
    assert len(why.weights) == 0 and np.asarray(why.drawn()).shape == why.view.shape


def test_a_service_may_forbid_gradients(detector, image):
    expected = explain_boxes(detector, image)
    with torch.inference_mode():
        np.testing.assert_allclose(explain_boxes(detector, image).weights, expected.weights, atol=1e-5)


def test_pictures_of_predict_and_of_python(finished, digits, tmp_path, capsys):
    images = [str(path) for path in sorted(digits.rglob("*.jpg"))[:2]]
    words = ["detect", "predict", str(finished.folder), *images, "--threshold", "0.01"]
    words += ["--explain", str(tmp_path / "why")]
    assert main([*words, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    model = mt.load(finished.folder, threshold=0.01)
    assert model.explains
    for row, image in zip(rows, images, strict=True):
        model.explain(image).drawn().save(tmp_path / "expected.jpg", quality=92)
        expected = np.asarray(Image.open(tmp_path / "expected.jpg")).astype(float)
        assert np.abs(np.asarray(Image.open(row["explained"])) - expected).mean() < 2
    assert main([*words, "--tiles", "64"]) == 2
    assert "--explain is for whole images" in capsys.readouterr().err


def test_an_exported_detector_cannot_be_looked_into(finished, digits, tmp_path, capsys):
    file = tmp_path / "m.pt2"
    assert main(["export", str(finished.folder), "--format", "torch", "--output", str(file), "--check", "1"]) == 0
    image = str(next(digits.rglob("*.jpg")))
    assert main(["detect", "predict", str(file), image, "--explain", str(tmp_path / "why")]) == 2
    assert "--explain is for runs" in capsys.readouterr().err and not (tmp_path / "why").exists()
    with pytest.raises(UserError, match="cannot be looked into"):
        mt.load(file).explain(image)
    assert not mt.load(file).explains


def test_the_page_shows_it_on_a_click(finished, digits, tmp_path):
    from mixtransfer.app.answers import look
    from mixtransfer.app.html import show
    from mixtransfer.app.models import open_models

    models = open_models([str(finished.folder)], "cpu")
    answers = look([next(digits.rglob("*.jpg"))], models, 9, 9, lambda done, total: None)
    assert show(answers, [0], 0.05, tmp_path).count("<img") == 1
    assert show(answers, [0], 0.05, tmp_path, explained=True).count("<img") == 2
