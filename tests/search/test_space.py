import numpy as np
import pytest
import torch

from mixtransfer.backbones import Architecture, architecture_spec, count_macs, count_parameters, create_backbone
from mixtransfer.backbones.architecture import Block
from mixtransfer.backbones.describe import describe_network
from mixtransfer.errors import UserError
from mixtransfer.search.space import BLOCKS, Space

SMALL = Space.of_width(0.3, 32, 5)


def built(architecture, classes=5):
    with torch.device("meta"):
        return create_backbone(architecture_spec(architecture), "none", classes)


def test_any_sample_is_a_network_whose_macs_are_known_beforehand():
    generator = np.random.default_rng(0)
    for space in (SMALL, Space.of_width(1, 97, 5)):
        for decisions in (space.smallest, space.largest, space.sample(generator)):
            network = built(space.architecture(decisions))
            assert space.macs(decisions) == count_macs(network, (3, space.image_size, space.image_size))
            assert space.architecture(decisions).parameters(5) == count_parameters(network)
            assert [len(stage) for stage in network.blocks] == [1, *(decisions[f"stage{i}.depth"] for i in range(1, 6))]


@pytest.mark.parametrize("name", ["mixnet_s", "mixnet_l"])
def test_the_parts_of_a_trained_network(name):
    with torch.device("meta"):
        trained = create_backbone(name, "none", 5)
    architecture = describe_network(trained, name)
    space = Space.of_trained(architecture, 224, 5)
    largest = space.architecture(space.largest)
    assert [(b.channels, b.expand, b.se, b.stride) for b in largest] == [
        (b.channels, b.expand, b.se, b.stride) for b in architecture
    ]
    generator = np.random.default_rng(0)
    for decisions in (space.smallest, space.largest, space.sample(generator)):
        network = built(space.architecture(decisions))
        assert space.macs(decisions) == count_macs(network, (3, 224, 224))
        assert space.architecture(decisions).parameters(5) == count_parameters(network)
    assert space.macs(space.smallest) < architecture.macs(224, 5) / 3


def test_half_of_the_networks_fit_the_budget():
    space = Space.for_budget(20e6, 64, 10)
    generator = np.random.default_rng(5)
    fitting = np.mean([space.macs(space.sample(generator)) <= 20e6 for _ in range(300)])
    assert 0.35 < fitting < 0.8


def test_mixnets_own_size_at_its_own_budget():
    space = Space.for_budget(300e6, 224, 1000)
    widths = [stage.channels for stage in space.stages]
    assert any(24 in channels for channels in widths[:1]) and widths[-1][0] < 200 < widths[-1][-1]
    assert [stage.frames[0].stride for stage in space.stages] == [2, 2, 2, 1, 2]


def test_small_images_are_halved_less_often():
    for size, halvings in ((224, 5), (64, 5), (32, 4), (16, 3)):
        strides = [stage.frames[0].stride for stage in Space.of_width(1, size, 10).stages]
        assert 1 + strides.count(2) == halvings


def test_kernels_are_no_larger_than_their_maps_can_use():
    choices = Space.of_width(1, 32, 10).choices  # the last maps have a side of 2
    largest = {
        name: max(max(Block.parse(f"ir_r1_s1_c8_{code}").kernels) for code in choices[name])
        for name in choices
        if "block" in name
    }
    assert [largest[f"stage{i}.block{j}"] for i, j in ((1, 0), (3, 0), (3, 1), (5, 0), (5, 1))] == [11, 11, 7, 7, 3]


def test_a_budget_that_nothing_fits_is_refused():
    with pytest.raises(UserError, match="--budget-macs 1000 is less than any network here takes at 224 pixels"):
        Space.for_budget(1000, 224, 10)


def test_every_choice_is_sampled_equally_often():
    samples = SMALL.fair_samples(np.random.default_rng(0))
    drawn = [next(samples) for _ in range(len(BLOCKS))]
    assert sorted(one["stage1.block0"] for one in drawn) == sorted(BLOCKS)
    assert [one["stage2.block0"] for one in drawn] != [one["stage3.block0"] for one in drawn]


@pytest.mark.parametrize(
    "blocks",
    [
        (("ir_r1_k3_s1_e1_c16",), ("ir_r2_k3.5_s2_e6_c24",)),  # no fixed stage
        (("ds_r1_k3_s1_e1_c16",), ("ds_r1_k3_s1_e1_c16",), ("ir_r2_k3.5_s2_e6_c24",)),
        (("ds_r1_k13_s1_e1_c16",), ("ir_r2_k3.5_s2_e6_c24",)),
        (("ds_r1_k3_s1_e1_c16",), ("ir_r2_k9_s2_e6_c24",)),  # not the first kernels
        (("ds_r1_k3_s1_e1_c16",), ("ir_r1_k3_s2_e6_c24", "ir_r1_k3_s1_e6_c32")),
        (("ds_r1_k3_s1_e1_c16",), ("ir_r1_k3_a1.1_s2_e6_c25",)),
        (("ds_r1_k3_s1_e1_c16",),),
    ],
)
def test_what_cannot_be_cut_is_refused(blocks):
    with pytest.raises(UserError, match="no search can cut: take a MixNet"):
        Space.of_trained(Architecture("odd", 16, blocks, 64, 32), 32, 5)


def test_a_budget_beyond_all_networks_is_refused():
    with pytest.raises(UserError, match="is more than any network here takes at 32 pixels"):
        Space.for_budget(1e12, 32, 10)


def test_shrinking_ends_where_it_fits():
    generator = np.random.default_rng(0)
    least = SMALL.macs(SMALL.smallest)
    for most in (least, 1.2 * least, 3 * least):
        found = SMALL.shrunk(SMALL.largest, lambda one, most=most: SMALL.macs(one) <= most, generator)
        assert SMALL.macs(found) <= most and all(found[name] in choices for name, choices in SMALL.choices.items())
