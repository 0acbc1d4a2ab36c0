"""Folded batch norm against the same network without it."""

import copy

import pytest
import torch

from mixtransfer.backbones import create_backbone
from mixtransfer.backbones.folding import fold_batch_norm

NAMES = [
    "mixnet_s",
    "tf_mixnet_s",
    "resnet18",
    "mobilenetv3_small_050",
    "mobilenetv2_035.mixconv357",
    "efficientnet_lite0",
]


def network(name: str) -> torch.nn.Module:
    """A network whose batch norms have statistics and scales of their own, so that a mistake would show."""
    torch.manual_seed(0)
    model = create_backbone(name, weights="none", num_classes=5)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.1)
    return model.double().eval()


def outputs_and_gradients(model: torch.nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    model.zero_grad()
    logits = model(images)
    logits.square().sum().backward()
    return [logits, *(parameter.grad for parameter in model.parameters())]


@pytest.mark.parametrize("name", NAMES)
def test_outputs_and_gradients_stay(name):
    plain = network(name)
    folded = copy.deepcopy(plain)
    assert fold_batch_norm(folded) == sum(isinstance(m, torch.nn.BatchNorm2d) for m in plain.modules())
    assert folded.state_dict().keys() == plain.state_dict().keys()
    images = torch.randn(2, 3, 33, 33, dtype=torch.float64)
    both = zip(outputs_and_gradients(plain, images), outputs_and_gradients(folded, images), strict=True)
    assert all(torch.allclose(a, b, rtol=1e-6, atol=1e-9) for a, b in both)


def test_training_mode_follows_the_batches_as_before():
    plain = network("resnet18").train()
    folded = copy.deepcopy(plain)
    fold_batch_norm(folded)
    images = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    assert torch.allclose(plain(images), folded(images))
    assert all(torch.allclose(a, b) for a, b in zip(plain.buffers(), folded.buffers(), strict=True))


def test_copy_stands_alone():
    """Weight averaging copies the network: the copy must not read the original's batch norms."""
    model = network("resnet18")
    fold_batch_norm(model)
    duplicate = copy.deepcopy(model)
    images = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    before = duplicate(images)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(duplicate(images), before)


def test_untraceable_network_is_left_alone():
    class Branching(torch.nn.Sequential):
        def forward(self, x):
            return super().forward(x) if x.sum() > 0 else x

    model = Branching(torch.nn.Conv2d(3, 3, 1), torch.nn.BatchNorm2d(3))
    assert fold_batch_norm(model) == 0
