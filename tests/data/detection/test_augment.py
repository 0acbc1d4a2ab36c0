"""Augmented boxes lie where the objects went; views differ where they should and repeat where they should."""

import numpy as np
import pytest

from mixtransfer.data.detection.augment import POLICIES, DetectionAugment, Window, warp

SIZE = 96
BOXES = np.array([[20, 10, 60, 50], [70, 20, 150, 55], [30, 60, 50, 110], [90, 65, 155, 115]])
COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0]])


@pytest.fixture
def painted():
    """160×120 pixels, white, each box filled with a colour of its own; boxes in shares; labels 0…3."""
    image = np.full((120, 160, 3), 255, dtype=np.uint8)
    for (x1, y1, x2, y2), colour in zip(BOXES, COLOURS, strict=True):
        image[y1:y2, x1:x2] = colour
    return image, BOXES / [160, 120, 160, 120], np.arange(4)


def bounds(mask):
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


@pytest.mark.parametrize("policy", ["none", "crop", "crop-flip"])
def test_boxes_enclose_the_pixels_of_their_object(policy, painted):
    augment = DetectionAugment(policy, SIZE)
    kept, wide = 0, 0
    for seed in range(150):
        view, boxes, labels = augment(*painted, seed)
        kept += len(boxes)
        for box, label in zip(boxes, labels, strict=True):
            colour = np.abs(view.astype(int) - COLOURS[label]).max(axis=-1) < 100
            np.testing.assert_allclose(box, bounds(colour), atol=1)
            wide += box[2] - box[0] > 0.6 * SIZE
    assert kept == 600 if policy == "none" else 300 < kept < 550
    assert bool(wide > 20) is (policy != "none")  # objects are seen from near, too


def test_standard_boxes_enclose_a_bright_object_whatever_the_colours_and_the_distance():
    """The fill of a widened canvas is mid-grey: black around the object is the photograph."""
    image = np.zeros((120, 160, 3), dtype=np.uint8)
    image[30:90, 40:120] = 255
    augment = DetectionAugment("standard", SIZE)
    areas = []
    for seed in range(150):
        view, boxes, labels = augment(image, np.array([[0.25, 0.25, 0.75, 0.75]]), np.array([7]), seed)
        assert labels.tolist() == [7]
        bright = view.min(axis=-1) > 0.75 * view.max()
        np.testing.assert_allclose(boxes[0], bounds(bright), atol=1.5)  # the threshold is above the middle
        areas.append(np.prod(boxes[0, 2:] - boxes[0, :2]) / SIZE**2)
    assert min(areas) < 0.05 and max(areas) > 0.6


def test_dropped_boxes_have_their_centre_outside(painted):
    """With the window's place known from two boxes that stay, those that go must have left by more than half."""
    augment = DetectionAugment("crop", SIZE)
    image, shares, labels = painted
    checked = 0
    for seed in range(200):
        view, _, found = augment(image, shares, labels, seed)
        for label in set(range(4)) - set(found.tolist()):
            colour = np.abs(view.astype(int) - COLOURS[label]).max(axis=-1) < 100
            if colour.any():
                x1, y1, x2, y2 = bounds(colour)
                assert x1 == 0 or y1 == 0 or x2 == SIZE or y2 == SIZE
                checked += 1
    assert checked > 20


@pytest.mark.parametrize("policy", POLICIES)
def test_views_follow_the_seed(policy, painted):
    views = [DetectionAugment(policy, SIZE)(*painted, seed) for seed in range(8)]
    again = DetectionAugment(policy, SIZE)(*painted, 3)
    for first, second in zip(views[3], again, strict=True):
        np.testing.assert_array_equal(first, second)
    distinct = len({view.tobytes() for view, _, _ in views})
    assert distinct == 1 if policy == "none" else distinct > 4
    for view, boxes, labels in views:
        assert view.shape == (SIZE, SIZE, 3) and view.dtype == np.uint8
        assert boxes.shape == (len(labels), 4) and boxes.dtype == np.float32 and labels.dtype == np.int64


def test_transforms_are_drawn_independently():
    """Mirrored or not, recoloured or not: seeded alike, whatever is mirrored would be recoloured as well."""
    image = np.full((90, 90, 3), (40, 200, 40), dtype=np.uint8)
    image[:, 45:] = (200, 40, 40)
    combinations = []
    for seed in range(200):
        view, _, _ = DetectionAugment("standard", SIZE)(image, np.zeros((0, 4)), np.zeros(0, np.int64), seed)
        redness = view[..., 0].astype(int) - view[..., 1]
        red, green = (np.flatnonzero((sign * redness > 50).any(axis=0)) for sign in (1, -1))
        if len(red) and len(green):
            recoloured = not (view == (200, 40, 40)).all(axis=-1).any()
            combinations.append((bool(red.mean() < green.mean()), recoloured))
    assert min(combinations.count((mirrored, recoloured)) for mirrored in (0, 1) for recoloured in (0, 1)) > 5


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("width", "height"), [(1, 1), (4000, 2), (1, 3000)])
def test_extreme_shapes(policy, width, height):
    image = np.full((height, width, 3), 9, dtype=np.uint8)
    for seed in range(20):
        view, boxes, _ = DetectionAugment(policy, 32)(image, np.array([[0.0, 0.0, 1.0, 1.0]]), np.zeros(1, int), seed)
        assert view.shape == (32, 32, 3) and len(boxes) == 1
        assert (boxes >= 0).all() and (boxes <= 32).all() and (boxes[:, 2:] - boxes[:, :2] >= 1).all()


@pytest.mark.parametrize("policy", POLICIES)
def test_no_boxes_and_a_thousand(policy, painted):
    image = painted[0]
    view, boxes, labels = DetectionAugment(policy, 32)(image, np.zeros((0, 4)), np.zeros(0, np.int64), 5)
    assert boxes.shape == (0, 4) and labels.shape == (0,) and view.shape == (32, 32, 3)
    corners = np.random.default_rng(0).uniform(0, 0.9, (1000, 2))
    many = np.concatenate([corners, corners + 0.1], axis=1)
    _, boxes, labels = DetectionAugment(policy, 32)(image, many, np.arange(1000), 5)
    assert len(boxes) == len(labels) <= 1000 and len(set(labels.tolist())) == len(labels)


@pytest.mark.parametrize("shape", [(300, 60), (60, 300), (300, 300)])
def test_whatever_shrinks_is_averaged(shape):
    """Stripes of a pixel across the longer sides: a filter that looks at single pixels would leave them."""
    image = np.zeros((*shape, 3), dtype=np.uint8)
    image[::2] = 255
    if shape[1] > shape[0]:
        image = np.ascontiguousarray(np.zeros_like(image))
        image[:, ::2] = 255
    view = warp(image, 100, 100).astype(int)
    assert view.shape == (100, 100, 3) and np.abs(view - 128).max() < 50
    np.testing.assert_array_equal(warp(view.astype(np.uint8), 100, 100), view)


@pytest.mark.parametrize("policy", ["crop", "standard"])
def test_no_part_of_a_large_image_is_enlarged(policy, monkeypatch):
    """An image that is decoded as small as allowed: its smallest part has a pixel for each of the view's."""
    scales = []

    def apply(self, img, visible, place, **params):
        scales.append((visible[2] - visible[0]) / (place[2] - place[0]))
        return original(self, img, visible, place, **params)

    original = Window.apply
    monkeypatch.setattr(Window, "apply", apply)
    augment = DetectionAugment(policy, SIZE)
    image = np.zeros((augment.min_side, augment.min_side, 3), np.uint8)
    for seed in range(200):
        augment(image, np.array([[0.4, 0.4, 0.6, 0.6]]), np.zeros(1, int), seed)
    assert 0.99 <= min(scales) < 1.2


def test_unknown_policy():
    with pytest.raises(ValueError, match="not one of"):
        DetectionAugment("wild", 32)
