"""The evaluation view against timm's own transform."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config

from mixtransfer.data.preprocessing import Normalize, Preprocessing


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "mixnet_s", "resnet50"])
@pytest.mark.parametrize("size", [(300, 200), (211, 347), (40, 40)])
def test_central_view_and_normalization_equal_timm(name, size):
    model = timm.create_model(name, num_classes=3)
    image = Image.effect_noise(size, 60).convert("RGB")
    expected = create_transform(**resolve_model_data_config(model))(image)
    preprocessing = Preprocessing.of(model)
    view = torch.tensor(preprocessing.central_view(image)).permute(2, 0, 1)[None]
    torch.testing.assert_close(Normalize(preprocessing)(view)[0], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("crop_pct", [0.9, 1.0])
@pytest.mark.parametrize("size", [(300, 200), (211, 347), (40, 40), (40, 300)])
def test_crop_modes_equal_timm(mode, crop_pct, size):
    image = Image.effect_noise(size, 60).convert("RGB")
    config = {"input_size": (3, 64, 64), "crop_pct": crop_pct, "crop_mode": mode, "interpolation": "bilinear"}
    model = SimpleNamespace(pretrained_cfg={**config, "mean": (0.2, 0.5, 0.7)})
    expected = create_transform(**resolve_model_data_config(model))(image)
    preprocessing = Preprocessing.of(model)
    assert preprocessing.crop_mode == mode
    view = torch.tensor(preprocessing.central_view(image)).permute(2, 0, 1)[None]
    torch.testing.assert_close(Normalize(preprocessing)(view)[0], expected, atol=1e-5, rtol=0)


def test_round_trip_and_size():
    preprocessing = Preprocessing.of(timm.create_model("resnet18"), size=96)
    assert preprocessing.size == 96
    preprocessing = replace(preprocessing, crop_mode="squash")
    assert Preprocessing.from_dict(preprocessing.to_dict()) == preprocessing


def test_a_description_from_before_crop_modes_has_a_central_crop():
    old = Preprocessing(size=96).to_dict()
    del old["crop_mode"]
    assert Preprocessing.from_dict(old) == Preprocessing(size=96, crop_mode="center")
    with pytest.raises(ValueError, match="crop"):
        Preprocessing.from_dict({**old, "crop_mode": "wild"})


def test_a_larger_size_is_cropped_as_timm_tests_the_model_at_it():
    def crop(size, **more):
        config = {"input_size": (3, 224, 224), "crop_pct": 0.875, **more}
        return Preprocessing.of(SimpleNamespace(pretrained_cfg=config), size).crop

    assert crop(288, test_input_size=(3, 288, 288), test_crop_pct=1.0) == 1.0
    assert crop(224, test_input_size=(3, 288, 288), test_crop_pct=1.0) == 0.875
    assert crop(256) == 0.95 and crop(128) == 0.875


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1)])
def test_extreme_shapes(size, mode):
    view = Preprocessing(size=32, mean=(10 / 255, 20 / 255, 30 / 255), crop_mode=mode).central_view(
        Image.new("RGB", size, (10, 20, 30))
    )
    assert view.shape == (32, 32, 3)
    np.testing.assert_array_equal(view[16, 16], (10, 20, 30))


def test_without_a_word_it_is_imagenets():
    """The published means and deviations of ImageNet's channels."""
    plain = Preprocessing(size=96)
    assert plain.mean == (0.485, 0.456, 0.406) and plain.std == (0.229, 0.224, 0.225)
    assert plain.min_side == 192  # twice the size: decoding at a reduced scale loses nothing


@pytest.mark.parametrize("crop", [0.0, -0.5, 1.1])
def test_a_share_that_is_none_is_refused(crop):
    with pytest.raises(ValueError, match="crop"):
        Preprocessing.from_dict({**Preprocessing(size=96).to_dict(), "crop": crop})
