"""The choice of the input size on frozen features."""

import numpy as np
import pytest
import timm
from folders import make_folder

from mixtransfer.backbones import backbone_spec
from mixtransfer.classification import image_size
from mixtransfer.classification.options import TrainOptions
from mixtransfer.classification.selection import Judgement
from mixtransfer.data.load import load_dataset

SPEC = backbone_spec("test_efficientnet")


@pytest.fixture
def model():
    return timm.create_model("test_efficientnet", num_classes=2)  # 160 pixels


def chosen(model, folder, losses, monkeypatch):
    """What is chosen where cross-validation gives ``losses``, smaller size first."""
    answers = iter(losses)
    monkeypatch.setattr(image_size, "judge", lambda predictions, weights: Judgement(1.0, np.array([next(answers)])))
    said = []
    dataset = load_dataset(str(folder))
    return image_size.choose_image_size(model, SPEC, dataset, TrainOptions(workers=0), said.append), said


def test_larger_size_must_be_worth_its_cost(model, tmp_path, monkeypatch):
    folder = make_folder(tmp_path / "d", {"a": 6, "b": 6}, size=200)
    size, said = chosen(model, folder, (0.5, 0.4), monkeypatch)
    assert size == 192 and "0.500 at 160 pixels, 0.400 at 192" in said[0]
    assert chosen(model, folder, (0.5, 0.49), monkeypatch)[0] == 160


def test_small_images_are_not_enlarged_further(model, tmp_path, monkeypatch):
    folder = make_folder(tmp_path / "d", {"a": 6, "b": 6}, size=100)
    assert chosen(model, folder, (), monkeypatch) == (160, [])


def test_many_images_are_sampled_evenly_over_the_classes(tmp_path, monkeypatch):
    monkeypatch.setattr(image_size, "MOST_IMAGES", 12)
    dataset = load_dataset(str(make_folder(tmp_path / "d", {"a": 40, "b": 10, "c": 8}, size=16)))
    both = dataset.train.joined(dataset.val)
    sample = both.subset(image_size._some_of_each_class(both.labels))
    assert sorted(sample.labels.tolist()) == [0] * 4 + [1] * 4 + [2] * 4
