"""The evaluation view against timm's own transform."""

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


def test_round_trip_and_size():
    preprocessing = Preprocessing.of(timm.create_model("resnet18"), size=96)
    assert preprocessing.size == 96
    assert Preprocessing.from_dict(preprocessing.to_dict()) == preprocessing


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1)])
def test_extreme_shapes(size):
    view = Preprocessing(size=32).central_view(Image.new("RGB", size, (10, 20, 30)))
    assert view.shape == (32, 32, 3)
    np.testing.assert_array_equal(view[16, 16], (10, 20, 30))
