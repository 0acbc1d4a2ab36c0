"""Labels that a run's predictions disagree with."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from boxed import found, record
from folders import make_folder
from tiny import tiny

from mixtransfer.backbones import create_backbone
from mixtransfer.classification.metrics import Predictions
from mixtransfer.classification.model import model_bytes
from mixtransfer.commandline.cli import main
from mixtransfer.data.dataset import Examples
from mixtransfer.data.images import load_image
from mixtransfer.data.load import load_dataset
from mixtransfer.data.preprocessing import Preprocessing
from mixtransfer.doctor.labels import suspicious_boxes, suspicious_classes
from mixtransfer.runs.model_card import ModelCard
from mixtransfer.runs.run import Run

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
    boxes = [[20, 20, 120, 120], [200, 50, 300, 200]]
    records = [record(i, boxes, [0, 1]) for i in range(1, 21)]
    records[3] = record(4, boxes[:1], [0])
    records[7] = record(8, boxes, [0, 0])
    detections = [found(i, boxes, [0.99, 0.98], [0, 1]) for i in range(1, 21)]
    assert set(suspicious_boxes(records, detections, 2)) == {3, 7}


@pytest.fixture
def trained(tmp_path, monkeypatch) -> tuple[Run, Path]:
    """A run that tells two colours apart without fail, and its data, whose test part has two wrong labels.

    The network is a random one; what it answers is taken from the colours instead.
    """
    data = tmp_path / "set"
    make_folder(data / "train", {"cat": 20, "dog": 20}, size=32)
    make_folder(data / "test", {"cat": 20, "dog": 20}, size=32, seed=1)
    for i in (3, 5):
        shutil.move(data / "test" / "cat" / f"{i:03}.jpg", data / "test" / "dog" / f"cat{i}.jpg")
    colours = [_colour(load_image(data / "train" / name / "001.jpg")) for name in ("cat", "dog")]

    def answers(trainer, module, loaders, examples: Examples) -> Predictions:
        seen = np.array([_colour(examples.image(i)) for i in range(len(examples))])
        best = np.abs(seen[:, None] - colours).sum(axis=-1).argmin(axis=1)
        return Predictions(0.06 + 0.88 * np.eye(2)[best], examples.labels)

    import mixtransfer.classification.evaluate  # noqa: F401  else it would import, and keep, what stands in here

    monkeypatch.setattr("mixtransfer.classification.trainer.predict_examples", answers)
    run = Run.create(tmp_path / "run", tiny(data, tmp_path / "run"))
    load_dataset(str(data)).split().write(run.split)
    torch.manual_seed(0)
    model = create_backbone("mobilenetv3_small_050", weights="none", num_classes=2)
    run.weights.write_bytes(model_bytes(model))
    preprocessing = Preprocessing.of(model, 32).to_dict()
    ModelCard("classification", "mobilenetv3_small_050", ["cat", "dog"], preprocessing).write(run.model)
    return run, data


def _colour(image) -> np.ndarray:
    return np.asarray(image, float).mean(axis=(0, 1))


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
    assert "It agrees with 95 % of 40. The network has not been trained on" in found["label_errors"]["what"]
    assert "label_errors_trained_on" not in found


def test_images_of_training_are_judged_apart(trained, tmp_path, capsys):
    run, data = trained
    shutil.move(data / "train" / "dog" / "000.jpg", data / "train" / "cat" / "dog0.jpg")
    _, found, _ = doctor(capsys, tmp_path, data, "--run", run.folder)
    what = found["label_errors_trained_on"]["what"]
    assert what.startswith("The network disagrees with the labels of") and "fitted without it" in what
    assert Path(found["label_errors_trained_on"]["places"][0]["files"][0]).name == "dog0.jpg"


def test_other_data_has_not_been_trained_on(trained, tmp_path, capsys):
    run, data = trained
    other = tmp_path / "other"
    shutil.copytree(data / "test", other)
    _, found, _ = doctor(capsys, tmp_path, other, "--run", run.folder)
    assert len(found["label_errors"]["places"]) == 2 and "label_errors_trained_on" not in found


def test_a_run_of_another_task_or_none_is_refused(trained, tmp_path, capsys):
    run, data = trained
    code, _, err = doctor(capsys, tmp_path, data, "--run", run.folder, "--task", "detect")
    assert code == 2 and "leave --task out" in err
    code, _, err = doctor(capsys, tmp_path, data, "--run", tmp_path)
    assert code == 2 and "is not a run" in err


def test_copies_of_what_was_trained_on_are_not_called_unseen(trained, tmp_path, capsys):
    """In another place they are known by their contents."""
    run, data = trained
    shutil.copytree(data, tmp_path / "copy" / "set")
    _, found, _ = doctor(capsys, tmp_path, tmp_path / "copy" / "set", "--run", run.folder)
    places = found["label_errors"]["places"]
    assert {Path(file).name for place in places for file in place["files"]} == {"cat3.jpg", "cat5.jpg"}
    assert "agrees with" in found["label_errors"]["what"] and "of 40." in found["label_errors"]["what"]


@pytest.mark.parametrize("way", ["relative", "link"])
def test_data_may_be_named_from_here_or_through_a_link(trained, tmp_path, capsys, monkeypatch, way):
    run, data = trained
    if way == "link":
        (tmp_path / "link").symlink_to(data)
    monkeypatch.chdir(data.parent)
    _, found, _ = doctor(capsys, tmp_path, data.name if way == "relative" else tmp_path / "link", "--run", run.folder)
    assert len(found["label_errors"]["places"]) == 2


def test_the_layout_holds_for_images_with_a_class_too(trained, tmp_path, capsys):
    run, data = trained
    other = tmp_path / "other"
    for name in ("cat", "dog"):  # whose classes could be these or "young" and "old"
        for age in ("young", "old"):
            shutil.copytree(data / "test" / name, other / name / age)
    code, _, err = doctor(capsys, tmp_path, other, "--run", run.folder)
    assert code == 2 and "--layout" in err
    _, found, _ = doctor(capsys, tmp_path, other, "--run", run.folder, "--layout", "class")
    assert len(found["label_errors"]["places"]) == 4


def test_images_of_the_run_that_are_not_listed_are_no_silence(trained, tmp_path, capsys):
    """As where metadata says of other images than the folders that were trained on."""
    run, data = trained
    rows = [f"{path.relative_to(data)},{path.parent.name}" for path in data.rglob("00*.jpg") if path.name > "005"]
    (data / "metadata.csv").write_text("\n".join(["file_name,label", *rows]))
    text = run.config.read_text().replace("layout: auto", "layout: split")
    run.config.write_text(text)
    code, _, err = doctor(capsys, tmp_path, data, "--run", run.folder)
    assert code == 2 and "--layout that it was trained with" in err
