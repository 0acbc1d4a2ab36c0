import detecting  # noqa: F401  skips without detectron2
import pytest
import torch
from torchvision.ops import nms

from mixtransfer.detection.spec import DetectorSpec
from mixtransfer.detection.ssdlite.postprocess import best_detections


def plainly(scores, boxes, threshold, per_class, iou, limit):
    """The definition, class by class over all candidates: (score, class, anchor), best first."""
    found = []
    for c in range(scores.shape[1]):
        order = scores[:, c].argsort(descending=True)[:per_class]
        order = order[scores[order, c] > threshold]
        found += [(scores[a, c].item(), c, a.item()) for a in order[nms(boxes[order], scores[order, c], iou)]]
    return sorted(found, reverse=True)[:limit]


@pytest.mark.parametrize("extent", [10.0, 500.0])  # few overlap; nearly all do, so that many candidates are needed
@pytest.mark.parametrize(("threshold", "per_class", "limit"), [(0.1, 400, 20), (0.9, 400, 300), (0.0, 15, 40)])
def test_it_is_what_suppression_of_everything_leaves(extent, threshold, per_class, limit):
    random = torch.Generator().manual_seed(0)
    scores = torch.rand(400, 6, generator=random)
    corners = 100 * torch.rand(400, 2, generator=random)
    boxes = torch.cat((corners, corners + extent * (1 + torch.rand(400, 2, generator=random))), 1)
    expected = plainly(scores, boxes, threshold, per_class, 0.5, limit)
    found_boxes, found_scores, found_classes = best_detections(scores, boxes, threshold, per_class, 0.5, limit)
    assert found_scores.tolist() == [score for score, _, _ in expected]
    assert found_classes.tolist() == [c for _, c, _ in expected]
    assert torch.equal(found_boxes, boxes[[a for _, _, a in expected]])


def test_nothing_above_the_threshold():
    boxes, scores, classes = best_detections(torch.zeros(5, 3), torch.rand(5, 4), 0.1, 10, 0.5, 2)
    assert boxes.shape == (0, 4)
    assert len(scores) == len(classes) == 0


@pytest.mark.parametrize("limit", [120, 300])
def test_as_many_are_found_as_are_asked_for_if_they_are_there(limit):
    """Behind more copies of one box than three for each that is asked for."""
    apart = 20.0 * torch.arange(300)[:, None] + torch.tensor([0.0, 0.0, 10.0, 10.0])
    boxes = torch.cat((torch.tensor([[-50.0, -50.0, -10.0, -10.0]]).expand(1000, 4), apart))
    scores = torch.linspace(1, 0.5, 1300)[:, None]
    spec = DetectorSpec(max_detections=limit)
    found, _, _ = best_detections(scores, boxes, 0.1, spec.candidates, 0.5, limit)
    assert len(found) == min(limit, 301)


def test_up_to_a_hundred_as_many_candidates_are_looked_at_as_in_torchvision():
    assert DetectorSpec().candidates == DetectorSpec(max_detections=20).candidates == 300
    assert DetectorSpec(max_detections=500).changed(max_detections=50).candidates == 300


def test_a_threshold_of_each_class_comes_before_the_limit():
    """The many of the first class, which are below its threshold, leave room for the second."""
    boxes = torch.stack([torch.tensor([20.0 * i, 0, 20 * i + 10, 10]) for i in range(40)])
    scores = torch.full((40, 2), 0.01)
    scores[:39, 0], scores[39, 1] = 0.5, 0.2
    thresholds = torch.tensor([0.6, 0.1])
    found_boxes, found_scores, classes = best_detections(scores, boxes, thresholds, 300, 0.5, 5)
    assert classes.tolist() == [1] and found_boxes.tolist() == boxes[39:].tolist()
    torch.testing.assert_close(found_scores, torch.tensor([0.2]))
