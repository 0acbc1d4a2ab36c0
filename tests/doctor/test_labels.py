"""Likely label errors, from a run's predictions."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from folders import make_folder

from mixtransfer.cli import main
from mixtransfer.doctor.labels import suspicious_boxes, suspicious_classes

pytest.importorskip("cleanlab", reason="cleanlab is not installed: pip install 'mixtransfer[doctor]'")


def test_planted_errors_are_found_worst_first():
    generator = np.random.default_rng(0)
    true = np.repeat(np.arange(4), 50)
    probabilities = np.full((200, 4), 0.02) + 0.92 * np.eye(4)[true]
    probabilities += generator.uniform(0, 0.02, probabilities.shape)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    labels = true.copy()
    planted = generator.choice(200, 12, replace=False)
    labels[planted] = (labels[planted] + 1) % 4
    found = suspicious_classes(probabilities, labels)
    assert set(found) == set(planted.tolist())
    confidence = probabilities[found, labels[found]]
    assert (np.diff(confidence) >= 0).all()
    assert suspicious_classes(probabilities, true) == []
    assert suspicious_classes(probabilities[:5], np.zeros(5, int)) == []


def test_images_with_a_missing_or_misnamed_box_are_found():
    from boxed import found, record

    boxes = [[20, 20, 120, 120], [200, 50, 300, 200]]
    records = [record(i, boxes, [0, 1]) for i in range(1, 21)]
    records[3] = record(4, boxes[:1], [0])
    records[7] = record(8, boxes, [0, 0])
    detections = [found(i, boxes, [0.97, 0.95], [0, 1]) for i in range(1, 21)]
    assert set(suspicious_boxes(records, detections, 2)) == {3, 7}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on two classes of plain colours, and its data, whose test part then gets two wrong labels."""
    from tiny import tiny

    from mixtransfer.classification.train import train

    root = tmp_path_factory.mktemp("labels")
    data = root / "set"
    make_folder(data / "train", {"cat": 40, "dog": 40}, size=32)
    make_folder(data / "test", {"cat": 20, "dog": 20}, size=32, seed=1)
    run = train(tiny(data, root / "run", epochs=4, lr=2e-3), say=lambda _: None)
    assert run.read_metrics()["test"]["top1"]["value"] == 1
    for i in (3, 5):
        shutil.move(data / "test" / "cat" / f"{i:03}.jpg", data / "test" / "dog" / f"cat{i}.jpg")
    return run, data


def doctor(capsys, tmp_path, *words):
    code = main(["doctor", *map(str, words), "--json", "--output", str(tmp_path / "out")])
    out, err = capsys.readouterr()
    return code, {f["kind"]: f for f in json.loads(out)["findings"]} if out else {}, err


def test_a_run_contradicts_wrong_labels_of_images_that_it_has_not_seen(trained, tmp_path, capsys):
    run, data = trained
    _, found, _ = doctor(capsys, tmp_path, data, "--run", run.folder)
    places = found["label_errors"]["places"]
    assert {Path(place["files"][0]).name for place in places} == {"cat3.jpg", "cat5.jpg"}
    assert "labelled dog, looks like cat" in places[0]["text"]
    assert "has not been trained on" in found["label_errors"]["what"] and "label_errors_trained_on" not in found


def test_images_of_training_are_judged_apart(trained, tmp_path, capsys):
    run, data = trained
    shutil.move(data / "train" / "dog" / "000.jpg", data / "train" / "cat" / "dog0.jpg")
    try:
        _, found, _ = doctor(capsys, tmp_path, data, "--run", run.folder)
    finally:
        shutil.move(data / "train" / "cat" / "dog0.jpg", data / "train" / "dog" / "000.jpg")
    assert "by heart" in found["label_errors_trained_on"]["what"]
    assert Path(found["label_errors_trained_on"]["places"][0]["files"][0]).name == "dog0.jpg"


def test_a_run_of_another_task_or_none_is_refused(trained, tmp_path, capsys):
    run, data = trained
    code, _, err = doctor(capsys, tmp_path, data, "--run", run.folder, "--task", "detect")
    assert code == 2 and "leave --task out" in err
    code, _, err = doctor(capsys, tmp_path, data, "--run", tmp_path)
    assert code == 2 and "is not a run" in err
