"""`classify evaluate` and `classify predict` as a user calls them."""

import csv
import io
import json
import shutil

import numpy as np
import pytest
from folders import make_folder
from PIL import Image

from mixtransfer.classification.model import open_classifier
from mixtransfer.commandline.cli import main


def answer(capsys, *argv: str) -> tuple[int, str, str]:
    """Exit code, standard output and errors of a command."""
    code = main(list(argv))
    out, err = capsys.readouterr()
    return code, out, err


def test_evaluate_prints_every_score_with_its_interval(finished, capsys):
    code, out, _ = answer(capsys, "classify", "evaluate", str(finished.folder), "--workers", "0")
    assert code == 0
    for name in ("Top-1", "Top-5", "Mean per-class", "Macro F1", "Calibration error", "Confusion matrix"):
        assert name in out


def test_evaluate_says_what_training_said(finished, capsys):
    code, out, _ = answer(capsys, "classify", "evaluate", str(finished.folder), "--workers", "0", "--json")
    scores = json.loads(out)
    test = finished.read_metrics()["test"]
    assert code == 0 and scores["images"] == 30 and np.sum(scores["confusion_matrix"]) == 30
    assert {name: scores[name]["value"] for name in test} == pytest.approx({n: s["value"] for n, s in test.items()})


@pytest.mark.parametrize(("part", "images"), [("train", 51), ("val", 9)])
def test_images_that_were_used_in_training_are_scored_with_a_warning(finished, part, images, capsys):
    words = ["classify", "evaluate", str(finished.folder), "--workers", "0", "--json", "--split", part]
    code, out, err = answer(capsys, *words)
    assert code == 0 and json.loads(out)["images"] == images
    assert "Warning: " in err and "so the score is too high; --split test takes" in err
    assert "Warning" not in answer(capsys, *words[:-1], "test")[2]


def test_evaluate_other_data_with_some_of_the_classes_in_another_order(finished, colours, tmp_path, capsys):
    """The same images under two class folders only: labels go by name, not by position."""
    for name in ("two words", "dog"):
        shutil.copytree(colours / "test" / name, tmp_path / "other" / name)
    code, out, _ = answer(capsys, "classify", "evaluate", str(finished.folder), str(tmp_path / "other"), "--json")
    scores = json.loads(out)
    whole = json.loads(answer(capsys, "classify", "evaluate", str(finished.folder), "--json")[1])
    assert code == 0 and scores["images"] == 10
    for name in ("two words", "dog"):
        row = scores["classes"].index(name)
        assert scores["confusion_matrix"][row] == whole["confusion_matrix"][row]


def test_evaluate_takes_a_folder_too_small_to_split(finished, tmp_path, capsys):
    folder = make_folder(tmp_path / "other", {"cat": 1})
    code, out, _ = answer(capsys, "classify", "evaluate", str(finished.folder), str(folder), "--json")
    assert code == 0 and json.loads(out)["images"] == 1


def test_evaluate_names_a_class_that_the_model_does_not_know(finished, tmp_path, capsys):
    folder = make_folder(tmp_path / "other", {"cat": 4, "zebra": 4}, seed=9)
    code, _, err = answer(capsys, "classify", "evaluate", str(finished.folder), str(folder))
    assert code == 2 and "does not know the class 'zebra'" in err and err.count("\n") == 1


@pytest.fixture
def images(tmp_path, colours):
    """Three good images, one of them with a name that needs care, and three that cannot be used."""
    folder = tmp_path / "some images"
    folder.mkdir()
    for source, name in (("cat", "a.jpg"), ("dog", "naïve ☃, “b”.jpg"), ("six", "c.jpg")):
        shutil.copy(next((colours / "test" / source).glob("*.jpg")), folder / name)
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("no image")
    (folder / "cut.jpg").write_bytes((folder / "a.jpg").read_bytes()[:400])
    (folder / "notes.txt").write_text("not looked at")
    return folder


def test_predict_json_has_a_line_an_image_and_reasons(finished, images, capsys):
    code, out, err = answer(capsys, "classify", "predict", str(finished.folder), str(images), "--json", "--top", "2")
    rows = {row["path"].rsplit("/", 1)[-1]: row for row in map(json.loads, out.splitlines())}
    assert code == 0 and rows.keys() == {"a.jpg", "naïve ☃, “b”.jpg", "c.jpg", "empty.jpg", "text.jpg", "cut.jpg"}
    assert "0 bytes" in rows["empty.jpg"]["error"] and "truncated" in rows["cut.jpg"]["error"]
    assert err.count("Left out: ") == 3
    trained = open_classifier(finished.folder)
    view = trained.preprocessing.central_view(Image.open(images / "a.jpg"))
    import torch

    from mixtransfer.data.preprocessing import Normalize

    batch = Normalize(trained.preprocessing)(torch.tensor(view).permute(2, 0, 1)[None])
    with torch.inference_mode():
        expected = trained.model(batch).softmax(dim=1)[0]
    for found in rows["a.jpg"]["top"]:
        assert found["probability"] == pytest.approx(float(expected[trained.classes.index(found["class"])]), abs=1e-4)
    assert len(rows["a.jpg"]["top"]) == 2


def test_predict_csv_reads_back(finished, images, capsys):
    code, out, _ = answer(capsys, "classify", "predict", str(finished.folder), str(images), "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0 and len(rows) == 3 * 5
    assert {row["path"].rsplit("/", 1)[-1] for row in rows} == {"a.jpg", "naïve ☃, “b”.jpg", "c.jpg"}
    assert [row["rank"] for row in rows[:5]] == list("12345")


def test_predict_takes_globs_and_files_once(finished, images, capsys):
    several = [str(images / "[ac].jpg"), str(images / "a.jpg"), str(images / "naïve ☃, “b”.jpg")]
    code, out, _ = answer(capsys, "classify", "predict", str(finished.folder), *several)
    assert code == 0 and len(out.splitlines()) == 3 and all("%" in line for line in out.splitlines())


@pytest.mark.parametrize(
    ("what", "says"),
    [("missing.jpg", "There is no file"), ("*.nothing", "There is no file"), ("empty.jpg", "None of the images")],
)
def test_predict_without_a_usable_image(finished, images, capsys, what, says):
    code, _, err = answer(capsys, "classify", "predict", str(finished.folder), str(images / what))
    assert code == 2 and says in err


@pytest.mark.parametrize("words", [["evaluate", "--batch-size", "0"], ["predict", "x.jpg", "--top", "0"]])
def test_numbers_that_cannot_be(finished, capsys, words):
    code, _, err = answer(capsys, "classify", words[0], str(finished.folder), *words[1:])
    assert code == 2 and "is 0; it must be at least 1" in err and err.count("\n") == 1


def test_predict_stops_quietly_when_nobody_reads(finished, images):
    import subprocess
    import sys

    words = [sys.executable, "-m", "mixtransfer", "classify", "predict", str(finished.folder), str(images)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    errors = process.stderr.read()
    process.wait()
    assert "Traceback" not in errors and "BrokenPipe" not in errors
