"""Augmentation differs where it should, and repeats where it should."""

import numpy as np
import pytest

from mixtransfer.data.augment import POLICIES, Augment


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (50, 70, 3)).astype(np.uint8)


@pytest.mark.parametrize("policy", POLICIES)
def test_views_have_the_size_and_follow_the_seed(policy, image):
    augment, other = Augment(policy, 32), Augment(policy, 32)
    views = [augment(image, seed) for seed in range(6)]
    assert all(view.shape == (32, 32, 3) and view.dtype == np.uint8 for view in views)
    np.testing.assert_array_equal(other(image, 3), views[3])
    distinct = len({view.tobytes() for view in views})
    assert distinct == (1 if policy == "none" else 6)


def test_gentle_policies_never_mirror():
    ramp = np.repeat(np.linspace(0, 255, 64, dtype=np.uint8)[None, :, None], 64, axis=0).repeat(3, axis=2)
    for policy, mirrors in (("crop", False), ("crop-flip", True)):
        views = [Augment(policy, 32)(ramp, seed).astype(int) for seed in range(30)]
        assert any(view[0, -1, 0] < view[0, 0, 0] for view in views) is mirrors


def test_changes_are_drawn_apart_from_one_another():
    """Were all transforms seeded alike, the same images would always be mirrored and coloured."""
    halves = np.zeros((64, 64, 3), np.uint8)
    halves[:, 32:] = (100, 150, 200)
    seen = set()
    for seed in range(80):
        view = Augment("standard", 32, min_area=1.0)(halves, seed).astype(int)
        mirrored = view[16, 3].sum() > view[16, 28].sum()
        bright = view[16, 3 if mirrored else 28]
        seen.add((mirrored, bool(abs(bright - (100, 150, 200)).max() > 1)))
    assert len(seen) == 4


def test_unknown_policy():
    with pytest.raises(ValueError, match="not one of"):
        Augment("wild", 32)
