"""Anchors that follow the boxes, and how gently a pretrained body is trained on few images."""

import json
import re
from types import SimpleNamespace

import detecting  # noqa: F401  skips without detectron2
import numpy as np
import pytest
import safetensors.torch
import torch
from coco_sets import make_coco
from detect_tiny import tiny
from detectron2.engine import HookBase
from torch import nn
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList

from mixtransfer.commandline.cli import main
from mixtransfer.detection import defaults
from mixtransfer.detection.coverage import FINEST, anchors_of, best_overlap, fitting_scales
from mixtransfer.detection.defaults import batch_of, check_anchors
from mixtransfer.detection.model import open_detector, read_detector_card
from mixtransfer.detection.options import TrainOptions
from mixtransfer.detection.spec import USUAL_SCALES, DetectorSpec, read_scales
from mixtransfer.detection.ssdlite.anchors import SSDAnchorGenerator
from mixtransfer.detection.train import train
from mixtransfer.errors import UserError
from mixtransfer.runs.run import Run


def squares(side, count=200, seed=0):
    corners = np.random.default_rng(seed).uniform(0, 1 - side, (count, 2))
    return np.concatenate([corners, corners + side], axis=1)


@pytest.mark.parametrize(("side", "low", "high"), [(0.6, 0.2, 0.2), (0.25, 0.2, 0.2), (0.08, 0.05, 0.1)])
def test_the_finest_scale_follows_the_boxes_and_is_no_finer_than_they_need(side, low, high):
    finest, *_, coarsest = fitting_scales(squares(side), np.zeros(200, int), DetectorSpec())
    assert low <= finest <= high and coarsest == USUAL_SCALES[1]


def test_rare_small_classes_count_as_much_as_frequent_large_ones():
    """5 small boxes of one class beside 30,000 large ones of another."""
    boxes = np.concatenate([squares(0.4, 30_000), squares(0.06, 5, seed=1)])
    assert fitting_scales(boxes, np.repeat([0, 0], [30_000, 5]), DetectorSpec())[0] == USUAL_SCALES[0]
    finest = fitting_scales(boxes, np.repeat([0, 1], [30_000, 5]), DetectorSpec())
    assert finest[0] < 0.1
    reached = [
        (best_overlap(boxes[30_000:], anchors_of(DetectorSpec(anchors=scales))) >= 0.5).mean()
        for scales in (USUAL_SCALES, finest)
    ]
    assert reached[0] == 0 and reached[1] > 0.3


def test_a_second_scale_leaves_middling_boxes_to_the_finest_map():
    """Where small boxes draw the first scale down, those of 0.18 fall between it and an even second one."""
    boxes = np.concatenate([squares(0.08, 100), squares(0.18, 400, seed=1)])
    labels = np.repeat([0, 1], [100, 400])
    finest, second, coarsest = scales = fitting_scales(boxes, labels, DetectorSpec())
    anchors = {kind: anchors_of(DetectorSpec(anchors=kind)) for kind in (scales, (finest, coarsest))}
    chosen, even = (best_overlap(boxes[100:], anchors[kind]).mean() for kind in (scales, (finest, coarsest)))
    assert chosen > even + 0.02
    sides = np.diff(anchors[scales][: 20 * 20 * 6, ::2])
    assert np.isclose(sides, np.sqrt(finest * second), atol=1e-4).any(), "the finest map has squares between the two"


def test_boxes_of_all_sizes_want_no_second_scale():
    sides = np.geomspace(0.05, 0.9, 400)
    boxes = np.concatenate([squares(side, 1, seed) for seed, side in enumerate(sides)])
    assert fitting_scales(boxes, np.zeros(400, int), DetectorSpec()) == (0.08, 0.95)


@pytest.mark.parametrize("scales", [(0.1, 0.4, 0.9), (0.1, 0.26, 0.9)])
def test_three_scales_by_their_definition(scales):
    """Of three, the first is the finest map's; those from the second on are torchvision's of one map less."""
    anchors = SSDAnchorGenerator((2,), scales[0], scales[2], second_ratio=scales[1])
    torchvisions = DefaultBoxGenerator([[2]] * 5, min_ratio=scales[1], max_ratio=scales[2])
    features = [torch.zeros(1, 1, side, side) for side in (10, 5, 3, 2, 1)]
    images = ImageList(torch.zeros(1, 3, 320, 320), [(320, 320)])
    reference = torchvisions(images, features)[0]
    ours = anchors([(side, side) for side in (20, 10, 5, 3, 2, 1)], (320, 320))
    finest, others = ours[: 20 * 20 * 4], ours[20 * 20 * 4 :]
    torch.testing.assert_close(others, reference, atol=1e-4, rtol=0)
    squares_of_it = (finest[0, 2:] - finest[0, :2]), (finest[1, 2:] - finest[1, :2])
    for square, scale in zip(squares_of_it, (scales[0], (scales[0] * scales[1]) ** 0.5), strict=True):
        torch.testing.assert_close(square, torch.full((2,), 320 * scale))


def test_no_boxes_keep_the_usual_scales():
    assert (
        fitting_scales(np.empty((0, 4)), np.empty(0, int), DetectorSpec()) == USUAL_SCALES
        and max(FINEST) == USUAL_SCALES[0]
    )


def test_a_run_keeps_its_anchors_and_a_start_hands_them_on(tmp_path):
    data = make_coco(tmp_path / "d", train=6, val=2, test=2)
    first = train(tiny(data, tmp_path / "first", anchors="0.1,0.8", iterations=1, eval_every=1))
    assert read_detector_card(first.model)[1].anchors == (0.1, 0.8) and open_detector(
        first.folder
    ).model.anchor_generator.scales == (0.1, 0.8)
    again = train(tiny(data, tmp_path / "again", weights=str(first.folder), iterations=1, eval_every=1))
    assert read_detector_card(again.model)[1].anchors == (0.1, 0.8)


@pytest.mark.parametrize(
    "anchors", ["0.2", "0.2,0.1", "0,0.9", "a,b", "0.1,1.5", "0.1,0.3,0.2", "0.1,0.2,0.3,0.4", "nan,0.9"]
)
def test_scales_that_are_none(anchors, tmp_path, capsys):
    with pytest.raises(UserError, match="--anchors is"):
        read_scales(anchors)
    assert main(["detect", "train", str(tmp_path), "--anchors", anchors]) == 2
    assert "takes auto, or the scales" in capsys.readouterr().err


def test_each_part_learns_at_its_rate_and_frozen_statistics_stay(tmp_path):
    data = make_coco(tmp_path / "d", train=6, val=2, test=2)
    options = tiny(data, tmp_path / "r", iterations=2, eval_every=2, body_lr=0.25, batch_norm="frozen", ema=False)
    seen = {}

    class See(HookBase):
        def after_step(self):
            body = self.trainer.model.backbone.body
            seen["training"] = {m.training for m in body.modules() if isinstance(m, nn.BatchNorm2d)}
            seen["others"] = {m.training for m in self.trainer.model.head.modules() if isinstance(m, nn.BatchNorm2d)}
            seen["means"] = torch.cat([m.running_mean for m in body.modules() if isinstance(m, nn.BatchNorm2d)])
            seen["groups"] = self.trainer.optimizer.param_groups
            seen["body"] = {id(p) for p in body.parameters()}

    train(options, hooks=[See()])
    assert seen["training"] == {False} and seen["others"] == {True} and not seen["means"].any()
    rates = {id(p) in seen["body"]: group["initial_lr"] for group in seen["groups"] for p in group["params"]}
    assert rates[True] == pytest.approx(0.25 * rates[False])


def test_layers_that_are_kept_stay_and_others_learn(tmp_path):
    data = make_coco(tmp_path / "d", train=6, val=2, test=2)
    first = train(tiny(data, tmp_path / "first", iterations=1, eval_every=1))
    assert first.read_config()["freeze_at"] == 0, "from scratch all is trained"
    options = tiny(data, tmp_path / "r", weights=str(first.folder), iterations=2, eval_every=2, ema=False)
    said = []
    run = train(options, say=said.append)
    assert run.read_config()["freeze_at"] == 2, "of few images, from a start"
    assert any("--freeze-at 0 trains them too" in sentence for sentence in said)
    before, after = (safetensors.torch.load_file(each.weights) for each in (first, run))
    same = {name for name in before if name.startswith("backbone.body.") and torch.equal(before[name], after[name])}
    floats = {name for name in before if name.startswith("backbone.body.") and before[name].is_floating_point()}
    early = {name for name in floats if re.match(r"backbone\.body\.(conv_stem|bn1|blocks\.0)\.", name)}
    assert early <= same and not same & (floats - early)


@pytest.mark.parametrize(("images", "given", "batch"), [(1999, None, 8), (2000, None, 16), (10, 5, 5)])
def test_few_images_come_in_smaller_batches(images, given, batch):
    assert batch_of(TrainOptions(batch_size=given), SimpleNamespace(train=range(images))) == batch


def test_older_runs_go_on_as_they_began(tmp_path):
    """Before there was a choice, anchors were SSD's own and all layers learnt at one rate."""
    data = make_coco(tmp_path / "d", train=6, val=2, test=2)
    start = train(tiny(data, tmp_path / "start", iterations=1, eval_every=1, anchors="0.2,0.95"))

    def stop(sentence):
        if sentence.startswith("Training"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tiny(data, tmp_path / "r", iterations=1, eval_every=1, weights=str(start.folder)), say=stop)
    run = Run(tmp_path / "r")
    assert run.read_config()["freeze_at"] == 2
    lines = run.config.read_text().splitlines()
    new = ("anchors:", "body_lr:", "batch_norm:", "freeze_at:", "logger:")
    run.config.write_text("\n".join(line for line in lines if not line.startswith(new)) + "\n")
    card = json.loads(run.model.read_text())
    del card["details"]["anchors"]
    run.model.write_text(json.dumps(card))
    trained = []

    class See(HookBase):
        def after_train(self):
            trained.append(all(parameter.requires_grad for parameter in self.trainer.model.parameters()))

    assert train(TrainOptions(resume=str(run.folder), workers=0), hooks=[See()]).read_metrics()["test"]
    assert trained == [True]
    assert open_detector(run.folder).model.anchor_generator.scales == USUAL_SCALES


def test_anchors_for_the_last_of_many_boxes_are_taken(tmp_path):
    """Two thousand small boxes come first."""
    boxes = np.concatenate([squares(0.05, 2000), squares(0.5, 200)]) * 100
    record = SimpleNamespace(targets=(boxes, np.zeros(2200, int)), width=100, height=100)
    check_anchors(TrainOptions(anchors="0.5,0.95"), SimpleNamespace(train=[record]))
    record.targets = boxes[:2000], np.zeros(2000, int)
    with pytest.raises(UserError, match="of a size that no box to train on has"):
        check_anchors(TrainOptions(anchors="0.5,0.95"), SimpleNamespace(train=[record]))


@pytest.mark.parametrize(
    ("images", "classes", "given", "iterations", "lr"),
    [
        (100, 3, {}, 1000, 1e-3),  # at least 8,000 views
        (400, 3, {}, 3000, 1e-3),  # 60 passes
        (400, 80, {}, 5000, 1e-3),  # 500 views a class
        (100, 80, {}, 1500, 1e-3),  # but 120 passes at most
        (400, 3, {"batch_size": 32}, 800, 1e-3),
        (400, 3, {"batch_size": 2}, 12_000, 2.5e-4),
        (400, 3, {"lr": 0.1, "iterations": 7}, 7, 0.1),
    ],
)
def test_passes_and_rate_follow_images_classes_and_batch(images, classes, given, iterations, lr, monkeypatch):
    monkeypatch.setattr(defaults, "_anchors", lambda *_: "0.2,0.95")
    data = SimpleNamespace(train=range(images), classes=["a"] * classes)
    found = defaults.resolve(TrainOptions(**given), data, None, lambda _: None)
    assert (found.iterations, found.lr) == (iterations, pytest.approx(lr))


def test_a_batch_has_no_more_parts_than_images(monkeypatch):
    monkeypatch.setattr(defaults, "_anchors", lambda *_: "0.2,0.95")
    data = SimpleNamespace(train=range(100), classes=["a"])
    assert defaults.resolve(TrainOptions(accumulate=8), data, None, lambda _: None).batch_size == 8
    with pytest.raises(UserError, match="no more parts than images"):
        defaults.resolve(TrainOptions(accumulate=9), data, None, lambda _: None)
