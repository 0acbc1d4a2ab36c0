"""Augmentation differs where it should, and repeats where it should."""

import cv2
import numpy as np
import pytest
from photos import photos
from PIL import Image

from mixtransfer.data.augment import POLICIES, Augment, ResampledCrop
from mixtransfer.data.preprocessing import Preprocessing


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


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [96, 200])
def test_an_uncropped_view_is_what_evaluation_shows(interpolation, size):
    for seed, photo in enumerate(photos(4)):
        shown = Preprocessing(size, 1.0, interpolation).central_view(photo).astype(int)
        view = Augment("crop-flip", size, 1.0, interpolation)(np.asarray(photo), seed)
        assert min(np.abs(view - shown).max(), np.abs(view[:, ::-1] - shown).max()) <= 2


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_crops_are_as_sharp_as_evaluation_shows_them(interpolation, monkeypatch):
    """Pillow's filter on the same parts: were they resized without averaging, they would be 1.5 times as sharp."""
    parts = cut_parts(monkeypatch)
    photo = Image.fromarray(np.concatenate([np.asarray(photo) for photo in photos(3)], axis=1))
    augment = Augment("crop-flip", 64, 0.5, interpolation)
    views = [augment(np.asarray(photo), seed) for seed in range(20)]
    resampling = Image.Resampling[interpolation.upper()]
    expected = [np.asarray(photo.crop(part).resize((64, 64), resampling)) for part in parts]
    assert sum(map(sharpness, views)) / sum(map(sharpness, expected)) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("policy", "min_area"), [("crop", 0.3), ("crop-flip", 0.3), ("strong", 0.08), ("standard", 1.0)]
)
def test_no_crop_of_a_large_image_is_enlarged(policy, min_area, monkeypatch):
    """An image that is decoded as small as allowed: its narrowest crop has the output's size, and not much more."""
    parts = cut_parts(monkeypatch)
    augment = Augment(policy, 64, min_area)
    side = augment.min_side
    for width, height in ((side, side), (side, 2 * side)):
        parts.clear()
        for seed in range(300):
            augment(np.zeros((height, width, 3), np.uint8), seed)
        narrowest = min(min(right - left, bottom - top) for left, top, right, bottom in parts)
        assert narrowest >= 63 and (width < height or narrowest < 78)


def cut_parts(monkeypatch) -> list[tuple[int, int, int, int]]:
    """What will be cut out from now on."""
    parts = []

    def apply(self, img, crop_coords, **params):
        parts.append(crop_coords)
        return original(self, img, crop_coords, **params)

    original = ResampledCrop.apply
    monkeypatch.setattr(ResampledCrop, "apply", apply)
    return parts


def sharpness(view: np.ndarray) -> float:
    return float(np.abs(cv2.Laplacian(view.astype(np.float32), cv2.CV_32F)).mean())


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
def test_without_augmentation_training_shows_the_whole_view(crop_mode):
    image = np.asarray(photos(1)[0])[:90]
    shown = Preprocessing(64, 1.0, "bilinear", crop_mode=crop_mode).central_view(Image.fromarray(image))
    view = Augment("none", 64, interpolation="bilinear", crop_mode=crop_mode)(image, 0)
    np.testing.assert_array_equal(view, shown)


def test_unknown_policy():
    with pytest.raises(ValueError, match="not one of"):
        Augment("wild", 32)
