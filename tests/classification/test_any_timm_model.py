"""Any classifier of timm can be trained by its name, or is refused in a sentence before anything is trained."""

import numpy as np
import pytest
import safetensors.torch
import torch
from folders import make_folder
from tiny import tiny
from torch import nn

from mixtransfer.backbones import backbone_spec, capability, create_backbone
from mixtransfer.backbones.answer import divide_answer, takes_linear_head
from mixtransfer.backbones.capability import check_classifier, native_size, refusal
from mixtransfer.classification.defaults import resolve
from mixtransfer.classification.module import ImageClassifier
from mixtransfer.classification.recipe import Recipe
from mixtransfer.classification.train import train
from mixtransfer.commandline.cli import main
from mixtransfer.data.dataset import Examples, ImageDataset
from mixtransfer.data.preprocessing import Preprocessing
from mixtransfer.errors import UserError

# One or two of each family, its smallest; of transformers that are built for one size, at a small one.
NAMES = [
    "test_vit", "test_vit2", "test_byobnet", "test_efficientnet", "test_mambaout", "test_nfnet", "test_resnet",
    "test_vit_relpos", "test_convnext", "cait_xxs24_224", "coat_lite_tiny", "convit_tiny", "convnext_atto",
    "crossvit_tiny_240", "deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "edgenext_xx_small",
    "efficientformerv2_s0", "efficientvit_b0", "efficientvit_m0", "eva02_tiny_patch14_224", "inception_next_atto",
    "fasternet_t0", "mobilenetv3_small_050", "mobilenetv4_conv_small_050", "ghostnet_050", "levit_128s",
    "mobilevit_xxs", "mobilevitv2_050", "pit_ti_224", "pit_ti_distilled_224", "pvt_v2_b0", "regnetx_002",
    "repghostnet_050", "repvit_m0_9", "resnet18", "rexnet_100", "shvit_s1", "starnet_s050", "tiny_vit_5m_224",
    "xcit_nano_12_p16_224", "swin_tiny_patch4_window7_224", "mixnet_s", "tf_efficientnet_lite0",
    "gmixer_12_224", "vgg11", "densenet121",
]  # fmt: skip
CLASSES = 3


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_two_steps(name):
    """The default options resolve, the loss is finite, all layers learn, and logits can be calibrated."""
    spec = backbone_spec(name)
    size = 96 if refusal(spec, 96) is None else native_size(spec)
    check_classifier(spec, size)
    torch.manual_seed(0)
    model = create_backbone(spec, "none", CLASSES, image_size=size)
    examples = Examples(np.zeros((6, 8, 8, 3), np.uint8), np.arange(6) % CLASSES)
    dataset = ImageDataset("any", ["a", "b", "c"], examples, examples, examples)
    options = tiny("", "", backbone=name, image_size=size, layer_decay=0.8, lr=1e-3, batch_size=2, devices=1)
    module = ImageClassifier(model, Preprocessing.of(model, size), Recipe.of(resolve(options, dataset, model)))
    optimizer = module.recipe.optimizer_for(module.train().model)
    given = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert {id(p) for p in given} == {id(p) for p in model.parameters() if p.requires_grad}
    for _ in range(2):
        loss = module.loss(torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8), torch.tensor([0, 1]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.isfinite(loss)
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        before = module.eval().model(images)
        assert divide_answer(model, 2.0, size)
        torch.testing.assert_close(model(images), before / 2, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "takes"),
    [("test_vit", True), ("mixnet_s", True), ("levit_128s", False), ("deit_tiny_distilled_patch16_224", False)],
)
def test_the_head_is_fitted_only_where_it_is_linear(name, takes):
    spec = backbone_spec(name)
    size = 96 if refusal(spec, 96) is None else native_size(spec)
    assert takes_linear_head(create_backbone(spec, "none", CLASSES, image_size=size), size) is takes


def test_no_weight_decay_of_the_network_is_honoured():
    model = create_backbone("test_vit", "none", CLASSES)
    options = tiny("", "", backbone="test_vit", layer_decay=0.8, batch_norm="train", devices=1)
    module = ImageClassifier(model, Preprocessing.of(model), Recipe.of(options))
    free = {id(parameter) for name, parameter in model.named_parameters() if name in model.no_weight_decay()}
    assert free
    for group in module.recipe.optimizer_for(model).param_groups:
        for parameter in group["params"]:
            assert group["weight_decay"] == 0 or id(parameter) not in free


def test_a_class_with_one_image_to_train_on_and_none_to_validate(tmp_path, finished):
    make_folder(tmp_path / "d" / "train", {"cat": 6, "dog": 6, "rare": 1}, size=32)
    make_folder(tmp_path / "d" / "val", {"cat": 2, "dog": 2}, size=32, seed=1)
    make_folder(tmp_path / "d" / "test", {"cat": 2, "dog": 2, "rare": 1}, size=32, seed=2)
    run = train(tiny(tmp_path / "d", tmp_path / "r", weights=str(finished.weights), epochs=0))
    assert "test" in run.read_metrics()


@pytest.mark.parametrize(
    ("name", "size", "says"),
    [
        ("levit_128", "200", "cannot take images of 200 pixels: choose --image-size 224, 192 or 160."),
        ("gcvit_xxtiny", "200", "cannot take images of 200 pixels: choose --image-size 224, 192 or 160."),
    ],
)
def test_a_size_that_a_network_cannot_take_is_refused_before_anything_else(colours, tmp_path, name, size, says, capsys):
    """Published weights would be fetched next, and no hub is asked."""
    words = ["classify", "train", str(colours), "--backbone", name, "--image-size", size]
    assert main([*words, "--output", str(tmp_path / "r")]) == 2
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1 and not (tmp_path / "r").exists()


def test_a_network_that_answers_with_a_map_is_refused(monkeypatch):
    spec = backbone_spec("resnet18")
    monkeypatch.setattr(capability, "create_backbone", lambda *_, **__: nn.Conv2d(3, 3, 1))
    with pytest.raises(UserError, match=r"cannot be trained as a classifier \(it does not answer with a number"):
        capability.check_classifier(spec)


def test_weights_of_another_size_are_said_to_be(tmp_path):
    safetensors.torch.save_file(
        create_backbone("vit_tiny_patch16_224", "none", image_size=64).state_dict(), tmp_path / "w.safetensors"
    )
    with pytest.raises(UserError, match="It may be of another --image-size"):
        create_backbone("vit_tiny_patch16_224", str(tmp_path / "w.safetensors"), image_size=96)
