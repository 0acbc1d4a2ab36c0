"""Each kind of mistake, one by one, what it costs, and what objects are found as."""

import numpy as np
import pytest
import torch
from boxed import found, record
from torchvision.ops import box_iou as torchvision_iou

from mixtransfer.detection.mistakes import KINDS, box_iou, confusion, cost_of_mistakes, count_mistakes, judge

CAT, AWAY = [100, 100, 200, 200], [300, 200, 390, 290]
NONE = dict.fromkeys(KINDS, 0)


@pytest.mark.parametrize(
    ("box", "label", "kind", "missed"),
    [
        ([100, 100, 200, 190], 0, None, 0),
        ([100, 100, 200, 190], 1, "class", 0),
        ([150, 100, 250, 200], 0, "localization", 0),
        ([150, 100, 250, 200], 1, "both", 1),
        (AWAY, 0, "background", 1),
    ],
)
def test_one_detection(box, label, kind, missed):
    mistakes = judge(record(1, [CAT], [0]), found(1, [box], [0.9], [label]))
    assert mistakes.kinds == ({} if kind is None else {0: kind})
    assert len(mistakes.missed) == missed and mistakes.found == ({0: 0} if kind is None else {})


def test_second_detection_of_an_object_is_a_duplicate():
    mistakes = judge(record(1, [CAT], [0]), found(1, [CAT, CAT], [0.6, 0.9], [0, 0]))
    assert mistakes.kinds == {0: "duplicate"} and mistakes.found == {1: 0}


def test_crowd_of_the_class_is_neither_found_nor_missed():
    crowded = record(1, [CAT], [0], crowd=[True])
    assert count_mistakes([judge(crowded, found(1, [[110, 110, 150, 150]], [0.9], [0]))]) == NONE
    assert count_mistakes([judge(crowded, found(1, [[110, 110, 150, 150]], [0.9], [1]))]) == NONE | {"background": 1}


def random_images(seed: int):
    """Objects of three classes in 30 images, and detections with all kinds of mistakes."""
    generator = np.random.default_rng(seed)
    records, detections = [], []
    for i in range(1, 31):
        n = int(generator.integers(1, 7))
        corner = generator.uniform(0, 250, (n, 2))
        boxes = np.concatenate([corner, corner + generator.uniform(30, 120, (n, 2))], 1)
        labels = generator.integers(0, 3, n)
        records.append(record(i, boxes, labels, generator.random(n) < 0))
        k = int(generator.integers(1, 15))
        of = generator.integers(0, n, k)
        near = boxes[of] + generator.normal(0, 18, (k, 4))
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 5)
        named = np.where(generator.random(k) < 0.3, generator.integers(0, 3, k), labels[of])
        near[generator.random(k) < 0.15] = [300, 200, 360, 280]
        detections.append(found(i, near, np.sort(generator.random(k))[::-1], named))
    return records, detections


# What tidecv 1.0.1, TIDE's own program, gives for them: dAP at IoU 0.5 in the order class, localization, both,
# duplicate, background, missed. (Of 20 seeds it gives the same for all, but for its recalls, which are not COCO's in
# the last digit: four differ by up to 0.2 for that reason.)
TIDE = {
    2: (1.285, 35.824, 1.629, 0.425, 1.036, 3.659),
    7: (2.474, 31.938, 0.732, 0.796, 1.680, 4.618),
    17: (3.937, 18.674, 1.517, 0.319, 1.991, 5.851),
}


@pytest.mark.parametrize("seed", TIDE)
def test_costs_are_tides(seed):
    costs = cost_of_mistakes(*random_images(seed))
    assert list(costs) == ["class", "localization", "both", "duplicate", "background", "missed"]
    np.testing.assert_allclose(list(costs.values()), TIDE[seed], atol=6e-4)


def test_costs_by_hand():
    """Two cats: one found; a false alarm of a higher score halves precision, and the other cat is missed."""
    records = [record(1, [CAT, AWAY], [0, 0])]
    detections = [found(1, [[0, 0, 50, 50], CAT], [0.9, 0.8], [0, 0])]
    before = 100 * 0.5 * 51 / 101
    costs = cost_of_mistakes(records, detections)
    assert costs.pop("background") == pytest.approx(100 * 51 / 101 - before)
    assert costs.pop("missed") == pytest.approx(50 - before)
    assert set(costs.values()) == {0}
    assert set(cost_of_mistakes([record(1, [], [])], detections).values()) == {None}


def test_what_a_kind_costs_alone_is_all_that_is_lacking():
    """Where all mistakes are of one kind, the AP without them is 100."""
    for box, label, kind in (
        ([150, 100, 250, 200], 0, "localization"),
        (CAT, 1, "class"),
        ([0, 0, 9, 9], 0, "background"),
    ):
        records = [record(1, [CAT], [0]), record(2, [AWAY], [0]), record(3, [AWAY], [1])]
        detections = [found(1, [box], [0.9], [label]), found(2, [AWAY], [0.8], [0]), found(3, [AWAY], [0.7], [1])]
        if kind == "background":
            detections[0] = found(1, [box, CAT], [0.95, 0.9], [0, 0])
        costs = cost_of_mistakes(records, detections)
        lacking = costs.pop(kind)
        assert lacking > 1 and set(costs.values()) == {0}, kind
        perfect = [found(i, *one) for i, one in ((1, ([CAT], [0.9], [0])), (2, ([AWAY], [0.8], [0])))]
        assert cost_of_mistakes(records[:2], perfect) == NONE


def test_objects_by_what_they_are_found_as():
    """A cat found twice, a cat found as a dog by two, a dog as itself, one missed, and one where nothing is."""
    other, dog, lost = [10, 10, 60, 60], [210, 10, 260, 60], [10, 210, 60, 260]
    records = [record(1, [CAT, other, dog, lost], [0, 0, 1, 1])]
    boxes = [CAT, CAT, other, other, dog, AWAY]
    detections = [found(1, boxes, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [0, 0, 1, 1, 1, 1])]
    matrix = confusion(records, detections, [judge(records[0], detections[0])], 2)
    np.testing.assert_array_equal(matrix, [[1, 1, 0], [0, 1, 1], [1, 2, 0]])


def test_every_object_and_detection_is_in_the_matrix_once():
    records, detections = random_images(0)
    mistakes = [judge(*pair) for pair in zip(records, detections, strict=True)]
    matrix = confusion(records, detections, mistakes, 3)
    np.testing.assert_array_equal(
        matrix[:3].sum(axis=1), np.bincount(np.concatenate([r.targets[1] for r in records]), minlength=3)
    )
    np.testing.assert_array_equal(
        matrix[:, :3].sum(axis=0), np.bincount(np.concatenate([d.labels for d in detections]), minlength=3)
    )
    assert np.trace(matrix) == sum(len(one.found) for one in mistakes) and matrix[3, 3] == 0


def test_overlap_is_torchvisions():
    a, b = (np.random.default_rng(i).uniform(0, 50, (5, 4)).cumsum(axis=1) for i in range(2))
    expected = torchvision_iou(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    np.testing.assert_allclose(box_iou(a, b), expected, atol=1e-6)
