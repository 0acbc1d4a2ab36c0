"""docs/files.md says what is in the files: each key that is written stands there."""

import csv
import json
import re
from pathlib import Path

import pytest
from detect_tiny import tiny as tiny_detector
from folders import make_labelled
from tiny import tiny

from mixtransfer.classification.train import train
from mixtransfer.commandline.cli import main
from mixtransfer.data.detection.demo import write_digits_on_photos

PAGE = (Path(__file__).parents[1] / "docs" / "files.md").read_text(encoding="utf-8")
SPOKEN = set(re.findall(r"`([\w.]+)/?`", PAGE)) | set(re.findall(r'"(\w+)"', PAGE))
# Settings of a detector's making, and versions of packages, which the page names in a word.
SUMMED_UP = {"match_iou", "box_weights", "negative_ratio", "focal_alpha", "focal_gamma", "focal_prior", "pixel_mean",
             "pixel_std", "norm_eps", "candidates_per_class", "loss", "tap"}  # fmt: skip
BY_NAME = {"versions", "thresholds", "classes", "per_class", "mistakes"}  # what is below is named by the data


def keys(values: dict) -> set[str]:
    found = set(values)
    for key, value in values.items():
        if isinstance(value, dict) and key not in BY_NAME:
            found |= keys(value)
    return found


@pytest.fixture(scope="module", params=["classify", "several labels", "detect"])
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    if request.param == "detect":
        pytest.importorskip("detectron2", reason="detectron2 is not installed: mixtransfer install-detectron2")
        from mixtransfer.detection.train import train as train_detector

        return train_detector(tiny_detector(write_digits_on_photos(folder / "data", 12, 4), folder / "run"))
    data = make_labelled(folder / "data", 50, size=32)
    if request.param == "classify":
        rows = list(csv.DictReader(data.open()))
        text = "".join(f"{row['path']},{'colour' if row['labels'] else 'grey'}\n" for row in rows)
        (data.parent / "one.csv").write_text("path,label\n" + text)
        data = data.parent / "one.csv"
    return train(tiny(data, folder / "run", epochs=1))


def test_every_file_of_a_run_is_spoken_of(run):
    missing = {file.name for file in run.folder.iterdir() if not file.name.startswith(".")} - SPOKEN
    assert not missing


def test_every_key_of_its_json_files_is_spoken_of(run):
    for name in ("model.json", "metrics.json"):
        assert not keys(json.loads((run.folder / name).read_text())) - SPOKEN - SUMMED_UP


def test_every_column_of_its_tables_is_spoken_of(run):
    classes = set(json.loads(run.model.read_text())["classes"])
    for name in ("split.csv", "metrics.csv", "test_predictions.csv"):
        if (run.folder / name).exists():
            with (run.folder / name).open() as file:
                assert not set(next(csv.reader(file))) - SPOKEN - classes
    if run.test_detections.exists():
        assert all(not one.keys() - SPOKEN for one in json.loads(run.test_detections.read_text()))


def test_what_predict_and_evaluate_print_is_spoken_of(run, tmp_path, capsys):
    task = "detect" if run.test_detections.exists() else "classify"
    images = sorted(
        (Path(run.read_config()["data"]).parent if task == "classify" else run.folder.parent).rglob("*.[pj][np]g")
    )
    words = ["--explain", str(tmp_path / "why"), *(["--unknown"] if task == "classify" else ["--threshold", "0.001"])]
    assert main([task, "predict", str(run.folder), str(images[0]), "--json", *words]) == 0
    assert not keys(json.loads(capsys.readouterr().out)) - SPOKEN
    if task == "classify":
        assert main(["classify", "evaluate", str(run.folder), "--json"]) == 0
        assert not keys(json.loads(capsys.readouterr().out)) - SPOKEN


def test_an_exports_description_is_spoken_of(run, tmp_path, capsys):
    onnx = pytest.importorskip("onnx", reason="needs the extra mixtransfer[export]")
    target = tmp_path / "model.onnx"
    assert main(["export", str(run.folder), "--output", str(target), "--check", "1"]) == 0
    (text,) = (one.value for one in onnx.load(target).metadata_props if one.key == "mixtransfer")
    described = json.loads(text)
    assert not set(described) - SPOKEN and not set(described["outputs"]) - SPOKEN


def test_an_error_is_one_sentence_and_status_2(capsys):
    assert main(["classify", "predict", "nowhere", "x.jpg"]) == 2
    assert re.fullmatch(r"error: [^\n]+\n", capsys.readouterr().err)
