"""Average precision: pycocotools' own, and cases computed by hand."""

import contextlib
import io
import json

import numpy as np
import pytest
from boxed import CLASSES, IDS, found, record

pytest.importorskip("pycocotools", reason="pycocotools is not installed: pip install 'mixtransfer[detection]'")

from pycocotools.coco import COCO  # noqa: E402
from pycocotools.cocoeval import COCOeval  # noqa: E402

from mixtransfer.data.detection.coco import coco_json  # noqa: E402
from mixtransfer.detection.scores import coco_results, coco_scores  # noqa: E402


def made_up(seed: int, most: int):
    """Objects of all sizes; crowds; images without boxes, or without detections; ties; a class without boxes."""
    generator = np.random.default_rng(seed)
    records, detections = [], []
    for i in range(1, 21):
        n = int(generator.integers(0, most + 1)) if i > 2 else 0
        corner = generator.uniform(0, 200, (n, 2))
        boxes = np.concatenate([corner, corner + np.exp(generator.uniform(1.5, 5, (n, 2)))], axis=1)
        labels = generator.integers(0, 2, n)
        records.append(record(i, boxes, labels, generator.random(n) < 0.2))
        if i % 5:
            noisy = boxes + generator.normal(0, 0.06, boxes.shape) * np.tile(boxes[:, 2:] - boxes[:, :2], 2)
            alarms = np.array([5, 5, 60, 60]) + generator.uniform(0, 200, (max(1, most // 4), 1))
            scores = np.sort(generator.random(n + len(alarms)).round(2))[::-1]
            named = np.where(generator.random(n) < 0.9, labels, 1 - labels)
            others = generator.integers(0, 3, len(alarms))
            detections.append(found(i, np.concatenate([noisy, alarms]), scores, [*named, *others]))
    return records, detections


@pytest.mark.parametrize(("seed", "most"), [(0, 4), (1, 4), (2, 12), (3, 40), (4, 90)])
def test_scores_are_pycocotools_own(seed, most, tmp_path):
    """Also of images with more than 100 detections, if it is told to look at all of them."""
    records, detections = made_up(seed, most)
    (tmp_path / "truth.json").write_text(json.dumps(coco_json(records, CLASSES, IDS)))
    (tmp_path / "found.json").write_text(json.dumps(coco_results(detections, IDS)))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(tmp_path / "truth.json"))
        evaluation = COCOeval(truth, truth.loadRes(str(tmp_path / "found.json")), "bbox")
        evaluation.params.maxDets = [1, 10, max(100, *(len(one.boxes) for one in detections))]
        evaluation.evaluate(), evaluation.accumulate()
    precision = evaluation.eval["precision"][..., -1]  # (IoU thresholds, recalls, classes, areas); -1: nothing to find
    scores = coco_scores(records, detections, CLASSES, IDS)
    every = precision[:, :, :, 0]
    expected = {"AP": every, "AP50": every[0], "AP75": every[5], "AR": evaluation.eval["recall"][:, :, 0, -1]}
    expected |= {name: precision[..., i] for i, name in enumerate(("APs", "APm", "APl"), 1)}
    assert scores.ap.keys() == expected.keys()
    for name, part in expected.items():
        known = part[part >= 0]
        assert scores.ap[name] == (pytest.approx(100 * known.mean(), abs=1e-9) if known.size else None)
    for i, name in enumerate(CLASSES[:2]):
        assert scores.per_class[name] == pytest.approx(100 * every[:, :, i].mean(), abs=1e-9)
    assert scores.per_class["emu"] is None
    np.testing.assert_allclose(scores.precision, np.where(every < 0, np.nan, every), atol=1e-12)


def test_average_precision_by_hand():
    """One of two cats found, after a false alarm: precision 1/2 up to recall 1/2, of 101 points 51 count."""
    records = [record(1, [[0, 0, 100, 100], [200, 100, 300, 200]], [0, 0])]
    detections = [found(1, [[310, 210, 390, 290], [0, 0, 100, 100]], [0.9, 0.8], [0, 0])]
    scores = coco_scores(records, detections, ["cat"], [3])
    assert scores.ap["AP"] == scores.ap["AP50"] == pytest.approx(100 * 0.5 * 51 / 101)
    assert scores.ap["APs"] is None
    assert scores.ap["APl"] == pytest.approx(100 * 51 / 101)  # the false alarm is of medium size
    assert scores.precision.shape == (10, 101, 1)
    assert (scores.precision[:, 50, 0] == 0.5).all() and (scores.precision[:, 51, 0] == 0).all()


def test_perfect_detections_and_none(random_case):
    records, _ = random_case
    truth = [found(r.image_id, r.targets[0], np.full(len(r.targets[0]), 0.9), r.targets[1]) for r in records]
    assert coco_scores(records, truth, CLASSES, IDS).ap["AP"] == pytest.approx(100)
    assert coco_scores(records, [], CLASSES, IDS).ap["AP"] == 0


def test_results_have_the_datas_own_ids():
    (result,) = coco_results([found(9, [[10, 20, 40, 60]], [0.5], [2])], IDS)
    assert result == {"image_id": 9, "category_id": 20, "bbox": [10.0, 20.0, 30.0, 40.0], "score": 0.5}


def test_more_than_100_objects_of_an_image_count():
    """Each of 150 is found: pycocotools alone would leave 50 of them out."""
    boxes = [[3 * i, 10, 3 * i + 2, 20] for i in range(100)] + [[3 * i, 40, 3 * i + 2, 50] for i in range(50)]
    truth = [record(1, boxes, [0] * 150)]
    scores = np.linspace(0.9, 0.5, 150)
    whole = coco_scores(truth, [found(1, boxes, scores, [0] * 150)], ["cell"], [1])
    assert whole.ap["AP"] == pytest.approx(100) and whole.ap["APl"] is None
    capped = coco_scores(truth, [found(1, boxes[:100], scores[:100], [0] * 100)], ["cell"], [1])
    assert capped.ap["AP"] == pytest.approx(100 * 67 / 101)  # recall ends at two thirds
