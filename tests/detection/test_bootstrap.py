"""Other test sets drawn from the images: pycocotools on data written out anew, and cases computed by hand."""

from dataclasses import replace

import numpy as np
import pytest
from boxed import CLASSES, IDS, found, record

pytest.importorskip("pycocotools", reason="pycocotools is not installed: pip install 'mixtransfer[detection]'")

from mixtransfer.data.detection.coco import coco_json  # noqa: E402
from mixtransfer.detection.bootstrap import average_precisions, intervals, mean_over_classes, resampled_ap  # noqa: E402
from mixtransfer.detection.matching import match  # noqa: E402
from mixtransfer.detection.scores import coco_results, coco_scores  # noqa: E402


def test_ap_of_resampled_images_is_that_of_a_dataset_made_of_them(random_case):
    """Each drawn image is written out again under an id of its own."""
    records, detections = random_case
    truth, results = coco_json(records, CLASSES, IDS), coco_results(detections, IDS)
    draws = np.random.default_rng(1).integers(0, len(records), (3, len(records)))
    whole, resampled = resampled_ap(truth, results, draws)
    assert 100 * whole == pytest.approx(coco_scores(records, detections, CLASSES, IDS).ap["AP"])
    by_id = {one.image_id: one for one in detections}
    for chosen, value in zip(draws, resampled, strict=True):
        copies = [replace(records[i], image_id=n + 1) for n, i in enumerate(chosen)]
        copies = [replace(one, ids=np.arange(len(one.boxes)) + 100 * one.image_id) for one in copies]
        again = [
            replace(by_id[records[i].image_id], image_id=n + 1)
            for n, i in enumerate(chosen)
            if records[i].image_id in by_id
        ]
        assert 100 * value == pytest.approx(coco_scores(copies, again, CLASSES, IDS).ap["AP"])


def test_each_class_and_iou_is_pycocotools_own(random_case):
    records, detections = random_case
    matches = match(coco_json(records, CLASSES, IDS), coco_results(detections, IDS))
    ours = average_precisions(matches, np.ones((1, matches.images), int))[0]
    theirs = coco_scores(records, detections, CLASSES, IDS).precision.mean(axis=1)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)
    assert 0 < ours[0, 0] < 1 and np.isnan(ours[:, 2]).all()


def test_what_finds_a_box_counts_though_it_lies_on_a_crowd_too():
    """Of three detections on the crowd one finds a cat; the others are passed over, and one elsewhere is wrong."""
    crowd, cat = [0, 0, 300, 300], [10, 10, 60, 60]
    records = [record(1, [crowd, cat], [0, 0], [True, False])]
    boxes = [[310, 0, 390, 90], [100, 100, 150, 150], cat, [200, 200, 250, 250]]
    matches = match(
        coco_json(records, ["cat"], [1]), coco_results([found(1, boxes, [0.9, 0.8, 0.7, 0.6], [0] * 4)], [1])
    )
    assert matches.right[0].tolist() == [False, False, True, False]
    assert matches.counts[0].tolist() == [True, False, True, False]
    assert average_precisions(matches, np.ones((1, 1), int))[0, :, 0] == pytest.approx(0.5)


def test_draws_without_a_class_leave_it_out():
    """The dog is in the second image only, which finds it; the cat in the first is missed."""
    records = [record(1, [[0, 0, 50, 50]], [0]), record(2, [[0, 0, 50, 50]], [1])]
    detections = [found(2, [[0, 0, 50, 50]], [0.9], [1])]
    matches = match(coco_json(records, CLASSES, IDS), coco_results(detections, IDS))
    drawn = average_precisions(matches, np.array([[2, 0], [0, 2], [1, 1], [0, 0]]))
    np.testing.assert_allclose(mean_over_classes(drawn), [0, 1, 0.5, np.nan])


def test_interval_is_that_of_a_share_of_images():
    """Of 100 images with a box each, 80 find it and none finds more: AP is the share, but for steps of a hundredth."""
    records = [record(i, [[0, 0, 50, 50]], [0]) for i in range(1, 101)]
    detections = [found(i, [[0, 0, 50, 50]], [0.9 - i / 1000], [0]) for i in range(1, 81)]
    matches = match(coco_json(records, ["cat"], [1]), coco_results(detections, [1]))
    found_intervals = intervals(matches)
    assert found_intervals == intervals(matches)  # seeded
    for low, high in found_intervals.values():
        assert low == pytest.approx(80 - 1.96 * 4, abs=1.5) and high == pytest.approx(80 + 1.96 * 4, abs=1.5)


def test_interval_allows_for_the_bias_of_draws(random_case):
    """Draws, which hold some images twice, have a higher AP on the average; the interval lies below theirs."""
    records, detections = random_case
    matches = match(coco_json(records, CLASSES, IDS), coco_results(detections, IDS))
    draws = np.random.default_rng(0).multinomial(20, np.full(20, 0.05), 1000)
    values = 100 * mean_over_classes(average_precisions(matches, draws))
    whole = coco_scores(records, detections, CLASSES, IDS).ap["AP"]
    low, high = intervals(matches)["AP"]
    assert low < whole < high and values.mean() > whole
    assert low < np.quantile(values, 0.025) - 0.3 and high < np.quantile(values, 0.975) - 0.3


PERFECT = [found(i, [[0, 0, 9, 9]], [0.5 + i / 100], [0]) for i in range(1, 30)]


@pytest.mark.parametrize(
    ("records", "detections"),
    [
        ([record(i, [[0, 0, 9, 9]], [0]) for i in range(1, 10)], PERFECT[:5]),
        ([record(i, [], []) for i in range(1, 30)], []),
        ([record(i, [[0, 0, 9, 9]], [0]) for i in range(1, 30)], PERFECT),
    ],
    ids=["few", "nothing to find", "no mistake"],
)
def test_too_little_for_an_interval(records, detections):
    assert intervals(match(coco_json(records, ["cat"], [1]), coco_results(detections, [1]))) is None
