"""Images in squares, and boxes on the way there and back."""

import numpy as np
import pytest

from mixtransfer.data.detection.augment import DetectionAugment, as_detection_augment
from mixtransfer.data.detection.square import CANVAS, Square


def painted(width, height, box):
    image = np.full((height, width, 3), 255, np.uint8)
    x1, y1, x2, y2 = box
    image[y1:y2, x1:x2] = (255, 0, 0)
    return image


def extent(view):
    """The red part of a view: x1, y1, x2, y2."""
    red = (view[..., 0] > 180) & (view[..., 1:].max(axis=-1) < 90)
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


@pytest.mark.parametrize("resize", ["warp", "letterbox"])
@pytest.mark.parametrize(("width", "height"), [(640, 480), (333, 517), (31, 700), (64, 64), (20, 10)])
def test_boxes_lie_where_their_pixels_lie_and_come_back(resize, width, height):
    box = [width // 4, height // 4, width - width // 4, height - height // 8]
    square = Square(96, resize)
    boxes = square.into(np.array([box], np.float32), width, height)
    view = square.view(painted(width, height, box))
    assert view.shape == (96, 96, 3)
    if min(width, height) >= 64:
        np.testing.assert_allclose(extent(view), boxes[0], atol=1)
    np.testing.assert_allclose(square.back(boxes, width, height)[0], box, atol=1e-3)


def test_a_letterbox_keeps_the_shape_and_fills_the_rest():
    view = Square(100, "letterbox").view(np.zeros((50, 200, 3), np.uint8))
    assert (view[37:62] == 0).all() and (view[:37] == CANVAS).all() and (view[62:] == CANVAS).all()


def test_many_images_at_once_are_as_one_by_one():
    sizes = np.array([[640, 480], [100, 300], [640, 480]])
    boxes = np.array([[10.0, 20.0, 30.0, 40.0]] * 3)
    square = Square(320, "letterbox")
    together = square.into(boxes, *sizes.T)
    apart = [square.into(box[None], *size)[0] for box, size in zip(boxes, sizes, strict=True)]
    np.testing.assert_array_equal(together, apart)


def test_boxes_that_reach_into_the_margin_end_at_the_image():
    back = Square(100, "letterbox").back(np.array([[-5.0, 0.0, 50.0, 100.0]]), 200, 100)
    assert back.tolist() == [[0, 0, 100, 100]]


@pytest.mark.parametrize("policy", ["none", "crop", "standard"])
def test_views_for_training_keep_the_shape_too(policy):
    """A square in a wide image stays one, as far as it is seen whole."""
    image = painted(400, 150, (160, 40, 220, 100))
    shares = np.array([[160 / 400, 40 / 150, 220 / 400, 100 / 150]])
    augment = as_detection_augment(policy, 96, "letterbox")
    whole = 0
    for seed in range(40):
        view, boxes, _ = augment(image, shares, np.zeros(1, int), seed)
        assert view.shape == (96, 96, 3)
        if policy == "none":
            np.testing.assert_allclose(boxes[0], extent(view), atol=1)
        if len(boxes) and boxes[0].min() > 1 and boxes[0].max() < 95:
            sides = boxes[0, 2:] - boxes[0, :2]
            whole += abs(sides[0] / sides[1] - 1) < 0.12
    assert whole > (39 if policy == "none" else 10)


def test_a_transform_of_ones_own_is_brought_into_the_square():
    def same(sample):
        return sample

    image = painted(400, 100, (100, 20, 200, 60))
    shares = np.array([[0.25, 0.2, 0.5, 0.6]])
    view, boxes, _ = as_detection_augment(same, 80, "letterbox")(image, shares, np.zeros(1, int), 0)
    np.testing.assert_allclose(boxes, [[20, 34, 40, 42]])
    np.testing.assert_allclose(extent(view), boxes[0], atol=1)
    warped = DetectionAugment("none", 80)(image, shares, np.zeros(1, int), 0)[1]
    np.testing.assert_allclose(warped, [[20, 16, 40, 48]], atol=1e-4)
