import detecting  # noqa: F401  skips without detectron2
import pytest
import torch
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList

from mixtransfer.detection.ssdlite.anchors import SSDAnchorGenerator


def maps(height: int, width: int) -> list[tuple[int, int]]:
    """Sizes at strides 16, 32, …, 512, rounded up at each."""
    sizes = [(-(-height // 16), -(-width // 16))]
    while len(sizes) < 6:
        sizes.append(tuple(-(-side // 2) for side in sizes[-1]))
    return sizes


@pytest.mark.parametrize("size", [(320, 320), (300, 420), (64, 64), (512, 96)])
def test_anchors_equal_torchvisions(size):
    reference = DefaultBoxGenerator([[2, 3] for _ in range(6)], min_ratio=0.2, max_ratio=0.95)
    images = ImageList(torch.empty(1, 3, *size), [size])
    expected = reference(images, [torch.empty(1, 1, *shape) for shape in maps(*size)])[0]
    anchors = SSDAnchorGenerator()(maps(*size), size)
    assert torch.equal(anchors, expected)
    assert len(anchors) == SSDAnchorGenerator().anchors_per_cell * sum(h * w for h, w in maps(*size))


def test_centres_divide_the_image_evenly_on_every_level():
    anchors = SSDAnchorGenerator()(maps(320, 320), (320, 320))
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    start = 0
    for height, width in maps(320, 320):
        level = centres[start : start + 6 * height * width : 6].reshape(height, width, 2)
        torch.testing.assert_close(level[0, :, 0], (torch.arange(width) + 0.5) * 320 / width)
        torch.testing.assert_close(level[:, 0, 1], (torch.arange(height) + 0.5) * 320 / height)
        start += 6 * height * width


def test_no_side_is_longer_than_the_image():
    anchors = SSDAnchorGenerator(aspect_ratios=(4,))(maps(200, 320), (200, 320))
    sides = anchors[:, 2:] - anchors[:, :2]
    assert sides[:, 0].max() <= 320.001
    assert sides[:, 1].max() <= 200.001
