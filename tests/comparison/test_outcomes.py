"""Results of several seeds: images are matched by name, detectors by average precision."""

import numpy as np
import pytest

from mixtransfer.classification.answers import write_answers
from mixtransfer.classification.metrics import Predictions
from mixtransfer.comparison.outcomes import ClassificationOutcome, DetectionOutcome
from mixtransfer.data.dataset import Examples
from mixtransfer.errors import UserError
from mixtransfer.run import Run

CLASSES = ["cat", "dog"]


def run_that_answered(folder, labels, predicted, order):
    """A run whose images come in some order; image i is always the same one."""
    folder.mkdir()
    probabilities = np.eye(2)[np.array(predicted)[order]]
    images = [folder.parent / CLASSES[labels[i]] / f"{i}.jpg" for i in order]
    examples = Examples(images, np.array(labels)[order])
    write_answers(Run(folder).test_predictions, Predictions(probabilities, examples.labels), examples, CLASSES)
    return Run(folder)


def test_images_are_matched_whatever_their_order(tmp_path):
    labels = [0, 0, 1, 1, 1]
    first = run_that_answered(tmp_path / "a", labels, [0, 1, 1, 1, 0], [0, 1, 2, 3, 4])
    second = run_that_answered(tmp_path / "b", labels, [0, 0, 1, 0, 0], [4, 2, 0, 3, 1])
    outcome = ClassificationOutcome.of([first, second])
    assert (outcome.seeds, outcome.images) == (2, 5)
    assert outcome.by_seed() == [0.6, 0.6] and outcome.hits.all(axis=0).sum() == 2
    (test,) = ClassificationOutcome.of([first]).mcnemar(ClassificationOutcome.of([second]))
    assert (test.only_first, test.only_second) == (1, 1)


def test_a_damaged_file_is_named(tmp_path):
    run = run_that_answered(tmp_path / "a", [0, 1], [0, 1], [0, 1])
    run.test_predictions.write_text("image,class\nx,y\n")
    with pytest.raises(UserError, match="test_predictions.csv is damaged"):
        ClassificationOutcome.of([run])
    run.test_predictions.unlink()
    with pytest.raises(UserError, match="has not been tested yet"):
        ClassificationOutcome.of([run])


def detections(truth, found):
    return [
        {"image_id": box["image_id"], "category_id": 1, "bbox": box["bbox"], "score": 0.9}
        for box, there in zip(truth["annotations"], found, strict=True)
        if there
    ]


def test_detectors_differ_by_their_average_precision():
    """One finds every object, the other three of four: no image speaks for it."""
    pytest.importorskip("pycocotools", reason="pycocotools is not installed: pip install 'mixtransfer[detection]'")
    truth = {
        "images": [{"id": i, "width": 100, "height": 100} for i in range(1, 41)],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "bbox": [10, 10, 50, 50], "area": 2500, "iscrowd": 0}
            for i in range(1, 41)
        ],
    }
    every = DetectionOutcome(truth, [detections(truth, [True] * 40)])
    most = DetectionOutcome(truth, [detections(truth, [i % 4 > 0 for i in range(40)])])
    assert every.score().value == pytest.approx(1) and 0.7 < most.score().value < 0.8
    assert most.score().low < most.score().value < most.score().high
    difference = most.less(every)
    assert difference.value == pytest.approx(most.score().value - 1) and difference.high < 0
    assert most.mcnemar(every) == []
