"""What training options left to us become, by data and start."""

import numpy as np
import pytest

from mixtransfer.backbones import create_backbone
from mixtransfer.classification.defaults import resolve
from mixtransfer.classification.options import TrainOptions
from mixtransfer.data.dataset import Examples, ImageDataset


@pytest.fixture(scope="module")
def network():
    return create_backbone("mobilenetv3_small_050", weights="none", num_classes=2)


def resolved(network, images: int, name: str = "flowers", **given) -> TrainOptions:
    part = Examples(np.zeros((images, 1, 1, 3), np.uint8), np.arange(images) % 2)
    return resolve(TrainOptions("flowers", **given), ImageDataset(name, ["a", "b"], part, part, part), network)


def test_few_images_are_mixed_and_batch_norm_is_frozen(network):
    fewest, few, many = resolved(network, 99), resolved(network, 1000), resolved(network, 5000)
    assert (fewest.batch_norm, fewest.mixup, fewest.cutmix, fewest.layer_decay) == ("frozen", 0.0, 0.0, 0.8)
    assert (few.batch_norm, few.mixup, few.cutmix, few.layer_decay, few.epochs) == ("frozen", 0.2, 1.0, 0.7, 23)
    assert (many.batch_norm, many.mixup, many.cutmix, many.layer_decay, many.epochs) == ("train", 0.0, 0.0, 0.8, 6)


@pytest.mark.parametrize(
    "given", [{"weights": "none"}, {"augment": "none"}, {"augment": "crop-flip"}, {"name": "digits"}]
)
def test_nothing_is_mixed_from_scratch_or_where_images_are_hardly_changed(network, given):
    options = resolved(network, 1000, **given)
    assert options.mixup == options.cutmix == 0


def test_what_is_given_stays(network):
    options = resolved(network, 1000, mixup=0.0, cutmix=0.5, batch_norm="train", epochs=3, warmup_epochs=2.0, lr=0.1)
    assert (options.mixup, options.cutmix, options.batch_norm, options.epochs) == (0.0, 0.5, "train", 3)
    assert options.lr == 0.1 and options.warmup_epochs == 1.5
    assert resolved(network, 1000, layer_decay=0.0).layer_decay == 0
