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


def resolved(network, images: int, name: str = "flowers", is_writing: bool = False, say=None, **given) -> TrainOptions:
    part = Examples(np.zeros((images, 1, 1, 3), np.uint8), np.arange(images) % 2)
    dataset = ImageDataset(name, ["a", "b"], part, part, part, is_writing=is_writing)
    return resolve(TrainOptions("flowers", **given), dataset, network, say or (lambda sentence: None))


def test_few_images_are_mixed_and_batch_norm_is_frozen(network):
    fewest, few, many = resolved(network, 99), resolved(network, 1000), resolved(network, 5000)
    assert (fewest.batch_norm, fewest.mixup, fewest.cutmix, fewest.layer_decay) == ("frozen", 0.0, 0.0, 0.8)
    assert (few.batch_norm, few.mixup, few.cutmix, few.layer_decay, few.epochs) == ("frozen", 0.2, 1.0, 0.7, 23)
    assert (many.batch_norm, many.mixup, many.cutmix, many.layer_decay, many.epochs) == ("train", 0.0, 0.0, 0.8, 6)


@pytest.mark.parametrize(
    "given", [{"weights": "none"}, {"augment": "none"}, {"augment": "crop-flip"}, {"is_writing": True}]
)
def test_nothing_is_mixed_from_scratch_or_where_images_are_hardly_changed(network, given):
    options = resolved(network, 1000, **given)
    assert options.mixup == options.cutmix == 0


def test_what_is_given_stays(network):
    options = resolved(network, 1000, mixup=0.0, cutmix=0.5, batch_norm="train", epochs=3, warmup_epochs=2.0, lr=0.1)
    assert (options.mixup, options.cutmix, options.batch_norm, options.epochs) == (0.0, 0.5, "train", 3)
    assert options.lr == 0.1 and options.warmup_epochs == 1.5
    assert resolved(network, 1000, layer_decay=0.0).layer_decay == 0
    assert resolved(network, 1000, weights="none").layer_decay == 1
    assert resolved(network, 1000, weights="none", layer_decay=0.6).layer_decay == 0.6


def test_writing_is_not_mirrored_whatever_the_name_of_the_data(network):
    assert resolved(network, 1000, is_writing=True).augment == "crop"
    assert resolved(network, 1000, is_writing=True, augment="strong").augment == "strong"
    assert resolved(network, 1000, name="digits").augment == "standard"  # a folder of one's own


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, 0.002),
        ({"batch_size": 128}, 0.002 * 2),  # the square root of 4
        ({"batch_size": 8}, 0.002 / 2),
        ({"batch_size": 16, "devices": 4, "num_nodes": 2}, 0.002 * 2),
        ({"batch_size": 32, "devices": 8}, 0.002 * 8**0.5),
        ({"optimizer": "sgd", "batch_size": 64}, 0.02 * 2),
        ({"optimizer": "sgd", "weights": "none", "batch_size": 16}, 0.05 / 2),
        ({"batch_size": 10_000}, 0.002 * 4),  # bounded
        ({"optimizer": "sgd", "batch_size": 1}, 0.02 / 4),
        ({"batch_size": 512, "lr": 0.001}, 0.001),
        ({"batch_size": "auto"}, None),  # it is found first
    ],
)
def test_the_default_rate_follows_the_images_of_a_step(network, given, expected):
    said = []
    rate = resolved(network, 20_000, say=said.append, **{"devices": 1, **given}).lr
    assert rate == (expected and pytest.approx(expected))
    told = "lr" not in given and expected not in (None, 0.002)
    assert len(said) == told and (not told or f"Learning rate {expected:.2g}: " in said[0])


def test_a_step_has_no_more_images_than_there_are(network):
    """All 128 images make a step of 128; of fewer than 32 images the rate is that of 32."""
    scratch = {"weights": "none", "batch_size": 1000, "devices": 1}
    assert resolved(network, 128, **scratch).lr == pytest.approx(0.002 * 2)
    assert resolved(network, 20, **scratch).lr == pytest.approx(0.002)


@pytest.mark.parametrize(("images", "rate"), [(50, 5e-4), (400, 1e-3), (1600, 2e-3), (4000, 2e-3)])
def test_fewer_images_are_fine_tuned_at_a_smaller_rate(network, images, rate):
    assert resolved(network, images, devices=1).lr == pytest.approx(rate)
    assert resolved(network, images, devices=1, weights="none").lr == 2e-3
    assert resolved(network, images, devices=1, lr=0.1).lr == 0.1
