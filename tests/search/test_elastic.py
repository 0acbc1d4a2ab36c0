import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mixtransfer.backbones import create_backbone
from mixtransfer.backbones.describe import describe_network
from mixtransfer.classification.recipe import Recipe
from mixtransfer.data.preprocessing import Preprocessing
from mixtransfer.search.elastic import ElasticNetwork, NestedKernels
from mixtransfer.search.space import Space
from mixtransfer.search.training import ElasticClassifier


@pytest.fixture(scope="module")
def supernet():
    torch.manual_seed(0)
    return ElasticNetwork(Space.of_width(0.3, 32, 5))


@pytest.fixture(scope="module", params=[("mixnet_s", 192), ("mixnet_m", 64), ("mixnet_l", 96)], ids=str)
def cut(request):
    """A network with random weights, and the elastic network that begins with it."""
    torch.manual_seed(1)
    name, size = request.param
    trained = create_backbone(name, "none", 5)
    space = Space.of_trained(describe_network(trained, name), size, 5)
    elastic = ElasticNetwork(space, trained)
    elastic.widest.classifier.load_state_dict(trained.classifier.state_dict())
    return trained.train(), elastic


def networks(space: Space):
    generator = np.random.default_rng(3)
    return [space.architecture(d) for d in (space.smallest, space.largest, space.sample(generator))]


def assert_same_alone(elastic: ElasticNetwork, images: torch.Tensor, tolerance: float) -> None:
    for architecture in networks(elastic.space):
        alone = elastic.standalone(architecture, [images]).train()
        torch.testing.assert_close(elastic(images, architecture), alone(images), rtol=tolerance, atol=tolerance)


def test_a_network_inside_the_supernet_is_the_same_network_alone(supernet):
    assert_same_alone(supernet, torch.randn(8, 3, 32, 32), 1e-4)


def test_it_begins_as_the_trained_network(cut):
    trained, elastic = cut
    images = torch.randn(2, 3, elastic.space.image_size, elastic.space.image_size)
    torch.testing.assert_close(elastic(images), trained(images), rtol=1e-4, atol=1e-4)
    # That has moved the statistics of both alike.
    torch.testing.assert_close(elastic.eval()(images), trained.eval()(images), rtol=1e-4, atol=1e-4)
    elastic.train(), trained.train()
    alone = elastic.standalone(elastic.largest, [images]).train()
    torch.testing.assert_close(alone(images), trained(images), rtol=1e-4, atol=1e-4)


def test_only_the_largest_network_moves_the_statistics(cut):
    _, elastic = cut
    elastic.train()
    before = {
        name: value.clone() for name, value in elastic.widest.named_buffers() if "blocks.3" in name or "bn2" in name[:4]
    }
    elastic(torch.randn(2, 3, 64, 64), elastic.space.architecture(elastic.space.smallest))
    assert before and all(torch.equal(elastic.widest.get_buffer(name), value) for name, value in before.items())
    elastic(torch.randn(2, 3, 64, 64))
    assert not any(torch.equal(elastic.widest.get_buffer(n), v) for n, v in before.items() if "running_mean" in n)


def test_its_parts_are_networks_of_their_own(cut):
    assert_same_alone(cut[1], torch.randn(4, 3, 64, 64), 1e-3)


def test_the_channels_that_count_most_are_kept(cut):
    """By the weights of the layer that reads them, equally many of each half, in the order that they had."""
    _, elastic = cut
    block = elastic.widest.blocks[-1][0]
    before = block.bn2.weight.detach().clone()
    with torch.no_grad():
        block.bn2.weight.copy_(torch.arange(len(before)))
    architecture = elastic.space.architecture(elastic.space.smallest)
    alone = elastic.standalone(architecture, [torch.randn(4, 3, 64, 64)])
    kept = alone.blocks[-1][0].bn2.weight.long()
    with torch.no_grad():
        block.bn2.weight.copy_(before)
    counts = block.conv_pwl.weight.abs().sum((0, 2, 3)).view(2, -1)
    wanted = [half.topk(len(kept) // 2).indices.sort().values + len(half) * i for i, half in enumerate(counts)]
    assert torch.equal(kept, torch.cat(wanted)) and len(kept) < len(before)


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
    kernels = deep[0].conv_dw.weight.grad[0, 0]
    assert kernels[4:7, 4:7].abs().min() > 0 and kernels.abs().sum() == kernels[4:7, 4:7].abs().sum()
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


def test_smaller_kernels_are_learnt_from_the_largest(supernet):
    """By a matrix of their own, which begins as the identity: Once-for-All's transformation."""
    kernels = NestedKernels(6)
    places = torch.tensor([1, 4])
    torch.testing.assert_close(kernels(places, 5), kernels.weight[places][:, :, 3:8, 3:8])
    change = torch.randn(25, 25)
    with torch.no_grad():
        kernels.changes["5"].copy_(change)
    expected = kernels.weight[places][:, :, 3:8, 3:8].flatten(1) @ (torch.eye(25) + change)
    torch.testing.assert_close(kernels(places, 5).flatten(1), expected)
    torch.testing.assert_close(kernels(places, 11), kernels.weight[places])
    kernels(places, 5).sum().backward()
    assert kernels.changes["5"].grad.abs().sum() > 0 and kernels.changes["7"].grad is None


def test_a_step_is_the_sandwich_rule_with_distillation(supernet):
    """The largest by the labels, the smallest and two others by these and by the largest one's answers."""
    recipe = Recipe(batch_norm="train", label_smoothing=0.1, ema=False)
    module = ElasticClassifier(supernet, Preprocessing(size=32), recipe)
    images, labels = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8), torch.arange(6) % 5
    space = supernet.space
    others = [space.sample(np.random.default_rng(i)) for i in range(2)]
    module.samples = iter(others)
    supernet.train()
    loss, logits, _ = module._answer(images, labels)
    inputs = module.normalize(images)
    torch.testing.assert_close(logits, supernet(inputs))
    expected = [F.cross_entropy(logits, labels, label_smoothing=0.1)]
    for decisions in (space.smallest, *others):
        answers = supernet(inputs, space.architecture(decisions))
        hard = F.cross_entropy(answers, labels, label_smoothing=0.1)
        taught = (logits.detach() / 2).softmax(1)
        soft = 4 * (taught * (taught.log() - (answers / 2).log_softmax(1))).sum(1).mean()
        expected.append((hard + soft) / 2)
    torch.testing.assert_close(loss, torch.stack(expected).mean())
    # The largest learns nothing from the others.
    (slopes,) = torch.autograd.grad(loss, logits, retain_graph=True)
    torch.testing.assert_close(slopes, torch.autograd.grad(expected[0] / 4, logits, retain_graph=True)[0])
