"""Quicker layers against timm's own."""

import copy

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.layers import BatchNormAct2d
from torch import nn

from mixtransfer.backbones import create_backbone
from mixtransfer.backbones.folding import fold_batch_norm
from mixtransfer.backbones.quicker import GroupedPointwise, make_quicker
from mixtransfer.classification.module import ImageClassifier
from mixtransfer.classification.recipe import Recipe
from mixtransfer.data.preprocessing import Normalize, Preprocessing

CLASSES = 5
SIZE = 48  # at 32 pixels batch norm would see a value an image, and blow up rounding


@pytest.mark.parametrize("name", ["mixnet_s", "tf_mixnet_s", "mobilenetv3_small_050"])
@pytest.mark.parametrize("training", [True, False])
def test_outputs_gradients_and_names_stay(name, training):
    torch.manual_seed(0)
    plain = create_backbone(name, weights="none", num_classes=CLASSES).double().train(training)
    quicker = make_quicker(copy.deepcopy(plain))
    assert quicker.state_dict().keys() == plain.state_dict().keys()
    images = torch.randn(3, 3, SIZE, SIZE, dtype=torch.float64)
    found = []
    for model in (plain, quicker):
        logits = model(images)
        logits.square().sum().backward()
        found.append([logits, *(parameter.grad for parameter in model.parameters())])
    assert all(torch.allclose(a, b, rtol=1e-6, atol=1e-8) for a, b in zip(*found, strict=True))


def test_mixnet_has_what_can_be_quicker():
    layers = list(make_quicker(create_backbone("mixnet_s", weights="none")).modules())
    assert sum(isinstance(layer, GroupedPointwise) for layer in layers) > 10
    assert not any(isinstance(layer, nn.SiLU) and layer.inplace for layer in layers)


def first_stages(model: nn.Module) -> nn.Module:
    """A short MixNet: MixConv, grouped 1×1 convolutions, squeeze-and-excite and swish are in it by the third stage."""
    model.blocks = model.blocks[:3]
    model.conv_head = nn.Conv2d(40, 64, 1, bias=False)
    model.bn2 = BatchNormAct2d(64)
    model.classifier = nn.Linear(64, CLASSES)
    return model


@pytest.mark.parametrize("batch_norm", ["train", "frozen"])
def test_twenty_steps_lose_what_plain_timm_loses(batch_norm):
    """The module that `classify train` trains against timm's network in PyTorch's default layout and optimizer."""
    torch.manual_seed(0)
    images = torch.randint(0, 256, (20, 2, 3, SIZE, SIZE), dtype=torch.uint8)
    labels = torch.randint(0, CLASSES, (20, 2))
    plain = first_stages(timm.create_model("mixnet_s")).double().train()
    model = first_stages(create_backbone("mixnet_s", weights="none"))
    model.load_state_dict(plain.state_dict())
    preprocessing = Preprocessing.of(model, SIZE)
    recipe = Recipe(lr=1e-3, layer_decay=1.0, batch_norm=batch_norm)
    module = ImageClassifier(model, preprocessing, recipe).double().train()
    if batch_norm == "frozen":
        for layer in plain.modules():
            layer.train(not isinstance(layer, nn.BatchNorm2d))
    decayed = [{"params": [p], "weight_decay": 0.05 * (p.ndim > 1)} for p in plain.parameters()]
    optimizers = [torch.optim.AdamW(decayed, 1e-3), recipe.optimizer_for(module.model)]
    normalize = Normalize(preprocessing).double()
    for inputs, targets in zip(images, labels, strict=True):
        losses = [
            F.cross_entropy(plain(normalize(inputs)), targets, label_smoothing=recipe.label_smoothing),
            module.loss(inputs, targets),
        ]
        assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-6)
        for loss, optimizer in zip(losses, optimizers, strict=True):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def test_folding_before_and_after():
    """The choice of the input size folds the network that is then made quicker."""
    torch.manual_seed(0)
    plain = create_backbone("mixnet_s", weights="none", num_classes=CLASSES).double().eval()
    quicker = copy.deepcopy(plain)
    fold_batch_norm(quicker)
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in plain.modules())
    assert fold_batch_norm(make_quicker(quicker)) == norms
    images = torch.randn(1, 3, SIZE, SIZE, dtype=torch.float64)
    assert torch.allclose(plain(images), quicker(images), rtol=1e-6, atol=1e-12)
