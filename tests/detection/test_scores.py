"""Average precision: pycocotools on files written out, and cases computed by hand."""

import contextlib
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from boxed import found, record

pytest.importorskip("pycocotools", reason="pycocotools is not installed: pip install 'mixtransfer[detection]'")

from pycocotools.coco import COCO  # noqa: E402
from pycocotools.cocoeval import COCOeval  # noqa: E402

from mixtransfer.data.detection.coco import coco_json  # noqa: E402
from mixtransfer.detection.scores import coco_results, coco_scores, resampled_ap  # noqa: E402

CLASSES, IDS = ["cat", "dog", "emu"], [3, 7, 20]


@pytest.fixture
def random_case():
    """Images with crowds, without boxes, without detections; a class without boxes."""
    generator = np.random.default_rng(0)
    records, detections = [], []
    for i in range(1, 21):
        n = int(generator.integers(0, 5)) if i > 2 else 0
        corner = generator.uniform(0, 200, (n, 2))
        boxes = np.concatenate([corner, corner + generator.uniform(10, 100, (n, 2))], axis=1)
        labels = generator.integers(0, 2, n)
        records.append(record(i, boxes, labels, generator.random(n) < 0.2))
        if i % 5:
            noisy = boxes + generator.normal(0, 6, boxes.shape)
            extra = np.array([[5, 5, 60, 60]])
            scores = np.sort(generator.random(n + 1))[::-1]
            detections.append(found(i, np.concatenate([noisy, extra]), scores, [*labels, 2]))
    return records, detections


def test_scores_are_pycocotools_own(random_case, tmp_path):
    records, detections = random_case
    (tmp_path / "truth.json").write_text(json.dumps(coco_json(records, CLASSES, IDS)))
    (tmp_path / "found.json").write_text(json.dumps(coco_results(detections, IDS)))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(tmp_path / "truth.json"))
        evaluation = COCOeval(truth, truth.loadRes(str(tmp_path / "found.json")), "bbox")
        evaluation.evaluate(), evaluation.accumulate(), evaluation.summarize()
    scores = coco_scores(records, detections, CLASSES, IDS)
    for name, value in zip(("AP", "AP50", "AP75", "APs", "APm", "APl"), evaluation.stats, strict=False):
        assert scores.ap[name] == (None if value < 0 else pytest.approx(100 * value))
    known = [value for value in scores.per_class.values() if value is not None]
    assert scores.per_class["emu"] is None and np.mean(known) == pytest.approx(scores.ap["AP"])


def test_average_precision_by_hand():
    """One of two cats found, after a false alarm: precision 1/2 up to recall 1/2, of 101 points 51 count."""
    records = [record(1, [[0, 0, 100, 100], [200, 100, 300, 200]], [0, 0])]
    detections = [found(1, [[310, 210, 390, 290], [0, 0, 100, 100]], [0.9, 0.8], [0, 0])]
    scores = coco_scores(records, detections, ["cat"], [3])
    assert scores.ap["AP"] == scores.ap["AP50"] == pytest.approx(100 * 0.5 * 51 / 101)
    assert scores.ap["APs"] is None
    assert scores.ap["APl"] == pytest.approx(100 * 51 / 101)  # the false alarm is of medium size
    assert scores.precision.shape == (101, 1) and scores.precision[50, 0] == 0.5 and scores.precision[51, 0] == 0


def test_perfect_detections_and_none(random_case):
    records, _ = random_case
    truth = [found(r.image_id, r.targets[0], np.full(len(r.targets[0]), 0.9), r.targets[1]) for r in records]
    assert coco_scores(records, truth, CLASSES, IDS).ap["AP"] == pytest.approx(100)
    assert coco_scores(records, [], CLASSES, IDS).ap["AP"] == 0


def test_results_have_the_datas_own_ids():
    (result,) = coco_results([found(9, [[10, 20, 40, 60]], [0.5], [2])], IDS)
    assert result == {"image_id": 9, "category_id": 20, "bbox": [10.0, 20.0, 30.0, 40.0], "score": 0.5}


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


def test_more_than_100_objects_of_an_image_count():
    """Each of 150 is found: pycocotools alone would leave 50 of them out."""
    boxes = [[3 * i, 10, 3 * i + 2, 20] for i in range(100)] + [[3 * i, 40, 3 * i + 2, 50] for i in range(50)]
    truth = [record(1, boxes, [0] * 150)]
    scores = np.linspace(0.9, 0.5, 150)
    whole = coco_scores(truth, [found(1, boxes, scores, [0] * 150)], ["cell"], [1])
    assert whole.ap["AP"] == pytest.approx(100) and whole.ap["APl"] is None
    capped = coco_scores(truth, [found(1, boxes[:100], scores[:100], [0] * 100)], ["cell"], [1])
    assert capped.ap["AP"] == pytest.approx(100 * 67 / 101)  # recall ends at two thirds
