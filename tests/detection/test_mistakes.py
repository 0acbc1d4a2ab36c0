"""Each kind of mistake, one by one."""

import numpy as np
import pytest
import torch
from boxed import found, record
from torchvision.ops import box_iou as torchvision_iou

from mixtransfer.detection.mistakes import best_threshold, box_iou, count_mistakes, judge

CAT = [100, 100, 200, 200]


@pytest.mark.parametrize(
    ("box", "label", "kind", "missed"),
    [
        ([100, 100, 200, 190], 0, None, 0),
        ([100, 100, 200, 190], 1, "class", 0),
        ([150, 100, 250, 200], 0, "localization", 0),
        ([150, 100, 250, 200], 1, "both", 1),
        ([300, 200, 390, 290], 0, "background", 1),
    ],
)
def test_one_detection(box, label, kind, missed):
    mistakes = judge(record(1, [CAT], [0]), found(1, [box], [0.9], [label]), 0.5)
    assert mistakes.kinds == ({} if kind is None else {0: kind})
    assert len(mistakes.missed) == missed and mistakes.correct == (kind is None)


def test_second_detection_of_an_object_is_a_duplicate():
    mistakes = judge(record(1, [CAT], [0]), found(1, [CAT, CAT], [0.6, 0.9], [0, 0]), 0.5)
    assert mistakes.kinds == {0: "duplicate"} and mistakes.correct == 1


def test_crowd_is_neither_found_nor_missed():
    crowded = record(1, [CAT], [0], crowd=[True])
    assert count_mistakes([judge(crowded, found(1, [[110, 110, 150, 150]], [0.9], [0]), 0.5)]) == {
        "class": 0, "localization": 0, "both": 0, "duplicate": 0, "background": 0, "missed": 0,
    }  # fmt: skip


def test_what_scores_below_the_threshold_is_not_judged():
    mistakes = judge(record(1, [CAT], [0]), found(1, [CAT], [0.4], [0]), 0.5)
    assert mistakes.kinds == {} and mistakes.missed == [0]


def test_threshold_with_the_largest_f1():
    """Two of three objects found above 0.7; what follows is wrong."""
    records = [record(1, [CAT, [300, 200, 390, 290], [0, 0, 50, 50]], [0, 0, 1])]
    detections = [found(1, [CAT, [300, 200, 390, 290], [100, 0, 150, 50]], [0.9, 0.7, 0.6], [0, 0, 1])]
    assert best_threshold(records, detections) == pytest.approx(0.7)
    assert best_threshold(records, [found(1, [], [], [])]) == 0.5


def test_overlap_is_torchvisions():
    a, b = (np.random.default_rng(i).uniform(0, 50, (5, 4)).cumsum(axis=1) for i in range(2))
    expected = torchvision_iou(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    np.testing.assert_allclose(box_iou(a, b), expected, atol=1e-6)
