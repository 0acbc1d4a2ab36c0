"""Drawing parts by a hash of paths: growth moves nothing, every class is everywhere, groups and folds are whole."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from mixtransfer.data.splits import Fold, TooFew, in_fold, place, set_aside
from mixtransfer.errors import UserError

NAMES = st.lists(st.text(max_size=6), min_size=1, max_size=60, unique=True)


@st.composite
def labelled(draw, least=3):
    """Paths and labels of two to four classes, ``least`` or more of each."""
    sizes = draw(st.lists(st.integers(least, 15), min_size=2, max_size=4))
    labels = np.repeat(np.arange(len(sizes)), sizes)
    names = [f"{label}/{i}.jpg" for i, label in enumerate(labels)]
    return names, labels


@given(labelled(), st.integers(0, 9), st.floats(0.05, 0.5))
def test_every_class_is_on_both_sides(images, seed, fraction):
    names, labels = images
    chosen = set_aside(names, labels, fraction, seed, "test", leave=2)
    for label in np.unique(labels):
        own = chosen[labels == label]
        assert own.any() and (~own).sum() >= 2


@given(labelled(), labelled(), st.integers(0, 9))
def test_images_that_come_move_none_of_the_others(images, more, seed):
    """But for a class that has one in a part only because it must."""
    names, labels = images
    grown = [*names, *(f"new {name}" for name in more[0])]
    before = set_aside(names, labels, 0.3, seed, "test", leave=2)
    after = set_aside(grown, np.concatenate([labels, more[1]]), 0.3, seed, "test", leave=2)[: len(names)]
    for label in np.unique(labels):
        own = labels == label
        below = np.array([place(name, seed, "test") < 0.3 for name in names])[own]
        if (before[own] == below).all():
            assert (after[own] == below).all()
        else:
            assert (before[own] != after[own]).sum() <= (before[own] != below).sum()


@given(labelled(), st.randoms())
def test_the_order_of_the_files_does_not_matter(images, random):
    names, labels = images
    order = list(range(len(names)))
    random.shuffle(order)
    straight = set_aside(names, labels, 0.3, 0, "test")
    shuffled = set_aside([names[i] for i in order], labels[order], 0.3, 0, "test")
    assert (straight[order] == shuffled).all()


@given(st.lists(st.integers(0, 12), min_size=30, max_size=80), st.integers(0, 9))
def test_a_group_is_on_one_side(groups, seed):
    units = [f"patient {group}" for group in groups]
    labels = np.array(groups) % 2
    try:
        chosen = set_aside(units, labels, 0.3, seed, "test")
    except TooFew:
        assert min(len({g for g in groups if g % 2 == label}) for label in set(labels)) < 2
        return
    for unit in set(units):
        assert len({c for u, c in zip(units, chosen, strict=True) if u == unit}) == 1


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), min_size=20, max_size=60), st.integers(0, 3))
def test_groups_of_several_classes_are_whole_and_every_class_is_everywhere(images, seed):
    units, labels = [f"g{group}" for group, _ in images], np.array([label for _, label in images])
    try:
        chosen = set_aside(units, labels, 0.3, seed, "test", leave=1)
    except TooFew:
        return
    for unit in set(units):
        assert len(set(chosen[np.array(units) == unit])) == 1
    for label in np.unique(labels):
        assert len(set(chosen[labels == label])) == 2


def test_the_share_is_what_was_asked_for():
    names = [f"{i}.jpg" for i in range(20_000)]
    for seed in range(3):
        chosen = set_aside(names, np.zeros(20_000, int), 0.2, seed, "test")
        assert binomtest(int(chosen.sum()), 20_000, 0.2).pvalue > 1e-4


def test_parts_and_seeds_are_drawn_apart():
    names = [f"{i}.jpg" for i in range(20_000)]
    one, labels = set_aside(names, np.zeros(20_000, int), 0.5, 0, "test"), np.zeros(20_000, int)
    for seed, part in ((1, "test"), (0, "validation")):
        both = int((one & set_aside(names, labels, 0.5, seed, part)).sum())
        assert binomtest(both, int(one.sum()), 0.5).pvalue > 1e-4


def test_the_hash_is_the_one_that_is_documented():
    """Of what was written by one version the next must say the same."""
    digest = hashlib.blake2b(b"7/test/cat/001.jpg", digest_size=8).hexdigest()
    assert place("cat/001.jpg", 7, "test") == int(digest, 16) / 2**64


@given(NAMES, st.integers(0, 9))
def test_at_most_so_many_are_chosen(names, seed):
    names = [*names, "a longer one", "another one"]
    labels = np.zeros(len(names), int)
    chosen = set_aside(names, labels, 0.9, seed, "validation", most=4)
    assert 1 <= chosen.sum() <= 4
    places = np.array([place(name, seed, "validation") for name in names])
    assert places[chosen].max() < places[~chosen].min()
    assert chosen.sum() == min(4, max(1, (places < 0.9).sum()), len(names) - 1)


def test_images_without_a_class_need_not_be_on_both_sides():
    chosen = set_aside(["a", "b", "c"], np.array([-1, -1, -1]), 0.001, 0, "test")
    assert not chosen.any()


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5])
def test_a_share_that_is_none(fraction):
    with pytest.raises(UserError, match="must lie between 0 and 1"):
        set_aside(["a", "b"], np.array([0, 0]), fraction, 0, "test")


@given(labelled(least=5), st.integers(2, 5), st.integers(0, 9))
def test_folds_are_of_one_size_and_cover_each_image_once(images, count, seed):
    names, labels = images
    folds = np.stack([in_fold(names, labels, Fold(k, count), seed) for k in range(1, count + 1)])
    assert (folds.sum(axis=0) == 1).all()
    assert np.ptp(folds.sum(axis=1)) <= 1
    for label in np.unique(labels):
        assert np.ptp(folds[:, labels == label].sum(axis=1)) <= 1


def test_folds_of_groups_are_whole():
    groups = [f"p{i // 4}" for i in range(80)]
    labels = np.arange(80) // 4 % 2
    folds = np.stack([in_fold(groups, labels, Fold(k, 5), 0) for k in range(1, 6)])
    assert (folds.sum(axis=0) == 1).all() and (folds.sum(axis=1) == 16).all()
    for k in range(5):
        assert not {g for g, i in zip(groups, folds[k], strict=True) if i} & {
            g for g, i in zip(groups, folds[k], strict=True) if not i
        }
        assert set(labels[folds[k]]) == {0, 1}
    dealt = {in_fold(groups, labels, Fold(1, 5), seed).tobytes() for seed in (0, 2, 4, 2**40 + 1)}
    assert len(dealt) > 2  # each seed deals them anew


def test_more_folds_than_images_of_a_class():
    with pytest.raises(TooFew) as caught:
        in_fold([str(i) for i in range(14)], np.array([0] * 6 + [1] * 3 + [2] * 5), Fold(1, 4), 0)
    assert (caught.value.label, caught.value.images, caught.value.units, caught.value.needed) == (1, 3, 3, 4)


@pytest.mark.parametrize("units", [1, 2])
def test_what_a_class_lacks_is_counted(units):
    """Images of the class, the units that they are in, and the units that would do."""
    names = [*"abcdefg", *["h"] * (4 - units), *["i"] * (units - 1), *"jkl"]
    labels = np.array([0] * 7 + [1] * 3 + [2] * 3)
    with pytest.raises(TooFew) as caught:
        set_aside(names, labels, 0.3, 0, "test", leave=2)
    error = caught.value
    assert (error.label, error.images, error.units, error.needed, error.part) == (1, 3, units, 3, "test")


def test_classes_that_cannot_all_be_on_both_sides():
    """Three classes, each in two of three groups: two of the groups are on one side whatever is chosen."""
    groups, labels = [*"aaab", *"bc", *"ac"], np.array([0] * 4 + [1] * 2 + [2] * 2)
    with pytest.raises(TooFew) as caught:
        set_aside(groups, labels, 0.3, 0, "test")
    error = caught.value
    assert (error.images, error.units, error.needed) == (int((labels == error.label).sum()), 2, 3)


@pytest.mark.parametrize("number, count", [(1, 2), (1, 5), (3, 5), (5, 5), (10, 12)])
def test_a_fold_is_read_and_written(number, count):
    assert Fold.parse(f" {number}/{count} ") == Fold(number, count) and str(Fold(number, count)) == f"{number}/{count}"


@pytest.mark.parametrize("text", ["2", "0/5", "6/5", "1/1", "two/five", "2/5/1", "-1/5"])
def test_what_is_no_fold(text):
    with pytest.raises(UserError, match="must be like 2/5"):
        Fold.parse(text)
