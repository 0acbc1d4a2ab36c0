import pytest
import torch
from detecting import example
from torchvision.models.detection._utils import SSDMatcher as TorchvisionMatcher
from torchvision.ops import box_iou

from mixtransfer.detection.ssdlite.anchors import SSDAnchorGenerator
from mixtransfer.detection.ssdlite.matcher import SSDMatcher

ANCHORS = SSDAnchorGenerator()([(20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)], (320, 320))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("objects", [1, 7, 200])
def test_matches_equal_torchvisions(seed, objects):
    boxes = example((320, 320), objects, seed=seed)["instances"].gt_boxes.tensor
    boxes[::2, 2:] = boxes[::2, :2] + (boxes[::2, 2:] - boxes[::2, :2]) / 8  # small ones claim the same anchors
    iou = box_iou(boxes, ANCHORS)
    assert torch.equal(SSDMatcher()(iou), TorchvisionMatcher(0.5)(iou))


def test_every_object_gets_its_best_anchor_however_little_it_overlaps():
    iou = torch.tensor([[0.9, 0.1, 0.0, 0.6], [0.8, 0.2, 0.3, 0.1]])
    assert SSDMatcher(0.5)(iou).tolist() == [1, -1, -1, 0]
    iou = torch.tensor([[0.9, 0.1, 0.0, 0.6], [0.0, 0.2, 0.3, 0.1]])
    assert SSDMatcher(0.5)(iou).tolist() == [0, -1, 1, 0]


def test_an_object_that_nothing_overlaps_changes_nothing():
    iou = torch.tensor([[0.9, 0.1, 0.0, 0.6], [0.0, 0.0, 0.0, 0.0]])
    assert SSDMatcher(0.5)(iou).tolist() == [0, -1, -1, 0]
    assert SSDMatcher(0.5)(iou[1:]).tolist() == [-1, -1, -1, -1]


def test_an_overlap_of_the_threshold_is_enough():
    iou = torch.tensor([[0.9, 0.5, 0.49], [0.1, 0.0, 0.2]])
    assert SSDMatcher()(iou).tolist() == [0, 0, 1]
    assert SSDMatcher(0.6)(iou).tolist() == [0, -1, 1]


def test_no_objects():
    assert SSDMatcher()(torch.zeros(0, 3)).tolist() == [-1, -1, -1]
