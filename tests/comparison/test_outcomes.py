"""Results of several seeds: images are matched by name, detectors by average precision."""

import numpy as np
import pytest

from mixtransfer.classification.answers import write_answers
from mixtransfer.classification.metrics import Predictions
from mixtransfer.comparison.detection_outcome import DetectionOutcome
from mixtransfer.comparison.outcomes import ClassificationOutcome, whole
from mixtransfer.data.dataset import Examples
from mixtransfer.errors import UserError
from mixtransfer.runs.run import Run

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


def fold_runs(root, name, folds):
    """Runs that were tested on folds of two: (seed, fold) each."""
    found = []
    for seed, fold in folds:
        run = Run(root / f"{name}-{seed}-{fold}")
        run.folder.mkdir()
        run.config.write_text(f"seed: {seed}\nfold: {fold}/2\n")
        found.append(run)
    return found


def test_seeds_that_some_lack_are_left_out_of_all(tmp_path):
    both, early = [(0, 1), (0, 2), (1, 1), (1, 2)], [(0, 1), (0, 2), (1, 1)]
    answers = whole({"a": fold_runs(tmp_path, "a", both), "b": fold_runs(tmp_path, "b", early)})
    assert [run.folder.name for run in answers["a"][0]] == ["a-0-1", "a-0-2"]
    assert [run.folder.name for run in answers["b"][0]] == ["b-0-1", "b-0-2"]
    assert answers["a"][1] == ["seed 1: left out, not all others have it whole"]
    assert answers["b"][1] == ["seed 1: left out, 1 of its folds are not trained"]


def test_a_backbone_that_shares_no_whole_seed_is_left_out_alone(tmp_path):
    folds = {"a": [(0, 1), (0, 2), (1, 1)], "b": [(0, 1), (0, 2)], "c": [(0, 1), (1, 1), (1, 2)]}
    answers = whole({name: fold_runs(tmp_path, name, its) for name, its in folds.items()})
    assert {name: len(used) for name, (used, _) in answers.items()} == {"a": 2, "b": 2, "c": 0}
    assert "not all others have it whole" in " ".join(answers["c"][1])
