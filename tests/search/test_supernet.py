import numpy as np
import pytest
import torch

from mixtransfer.search.space import Space
from mixtransfer.search.supernet import Supernet


@pytest.fixture(scope="module")
def supernet():
    torch.manual_seed(0)
    return Supernet(Space.of_width(0.3, 32, 5))


def networks(space: Space):
    generator = np.random.default_rng(3)
    return [space.architecture(d) for d in (space.smallest, space.largest, space.sample(generator))]


def test_a_network_inside_the_supernet_is_the_same_network_alone(supernet):
    images = torch.randn(8, 3, 32, 32)
    for architecture in networks(supernet.space):
        alone = supernet.standalone(architecture, [images]).train()
        torch.testing.assert_close(supernet(images, architecture), alone(images), rtol=1e-4, atol=1e-4)


def test_statistics_are_those_of_the_images_given(supernet):
    images = torch.randn(64, 3, 32, 32) * 3 + 1
    architecture = networks(supernet.space)[2]
    alone = supernet.standalone(architecture, images.split(16))
    # With its own statistics a network says of these images in evaluation what it says in training, but for the
    # correction of the variance and for the batches being parts.
    inside, outside = supernet(images, architecture), alone(images)
    assert not alone.training and torch.corrcoef(torch.stack([inside.flatten(), outside.flatten()]))[0, 1] > 0.95


def test_a_step_moves_the_weights_of_that_network_only(supernet):
    smallest, largest, _ = networks(supernet.space)
    supernet.zero_grad(set_to_none=True)
    supernet(torch.randn(4, 3, 32, 32), smallest).sum().backward()
    deep = supernet.widest.blocks[2]
    assert deep[0].conv_dw["3"].grad is not None and deep[0].conv_dw["11"].grad is None
    assert deep[-1].conv_pw.weight.grad is None  # the smallest network is less deep
    gradient = deep[0].conv_pw.weight.grad
    rows = deep[0].conv_pw.weight.shape[1] * 3  # expansion 3 of the widest input, which is no wider here
    assert gradient[:8].abs().sum() > 0 and gradient[rows:].abs().sum() == 0
    supernet.zero_grad(set_to_none=True)


def test_a_copy_shares_no_memory(supernet):
    architecture = networks(supernet.space)[0]
    before = supernet.widest.conv_stem.weight.clone()
    alone = supernet.standalone(architecture, [torch.randn(4, 3, 32, 32)])
    with torch.no_grad():
        alone.conv_stem.weight.zero_()
    assert torch.equal(supernet.widest.conv_stem.weight, before)
