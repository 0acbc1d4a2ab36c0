"""`detect evaluate` and `detect predict` as a user calls them, and recipes in Python."""

import builtins
import json
import shutil
from pathlib import Path

import cv2
import detecting  # noqa: F401  skips without detectron2
import numpy as np
import pytest
from detect_tiny import tiny
from PIL import Image

from mixtransfer.commandline.arguments import parse
from mixtransfer.commandline.cli import VERBS, _with_recipes, main
from mixtransfer.detection.inference import detect
from mixtransfer.detection.options import TrainOptions
from mixtransfer.detection.tiling import Tiling
from mixtransfer.prediction import load

RECIPES = sorted((Path(__file__).parents[2] / "configs" / "detection").glob("*.py"))


def answer(capsys, *argv: str) -> tuple[int, str, str]:
    code = main(list(argv))
    out, err = capsys.readouterr()
    return code, out, err


def test_evaluate_says_what_training_said(finished, capsys):
    code, out, _ = answer(capsys, "detect", "evaluate", str(finished.folder), "--workers", "0", "--json")
    assert code == 0 and json.loads(out) == finished.read_metrics()["test"]


def test_evaluate_prints_a_table(finished, capsys):
    code, out, _ = answer(capsys, "detect", "evaluate", str(finished.folder), "--workers", "0", "--split", "val")
    assert code == 0 and "AP50" in out and "val part" in out and "threshold" in out and "recall" in out


def thresholds_of(folder: Path, change=None) -> dict:
    """The thresholds in a run's description; "change" puts others there, or takes them out."""
    card = json.loads((folder / "model.json").read_text())
    if change is not None:
        card["details"].pop("thresholds", None)
        card["details"] |= {"thresholds": change} if change else {}
        (folder / "model.json").write_text(json.dumps(card))
    return card["details"].get("thresholds")


@pytest.fixture
def chosen(finished, tmp_path) -> Path:
    """A copy of the run in which the class "3" is shown from the smallest score on, and others never."""
    folder = shutil.copytree(finished.folder, tmp_path / "chosen")
    thresholds_of(folder, {str(i): 0.0 if i == 3 else 1.0 for i in range(10)})
    return folder


def test_predict_shows_each_class_from_its_threshold_unless_one_is_given(chosen, images, capsys):
    words = ["detect", "predict", str(chosen), str(images), "--json"]

    def classes(*more):
        code, out, _ = answer(capsys, *words, *more)
        assert code == 0
        return {one["class"] for line in out.splitlines() for one in json.loads(line)["objects"]}

    assert classes() == {"3"}
    assert classes("--threshold", "0") > {"3"} and classes("--threshold", "1") == set()
    model = load(chosen, "cpu")
    found = model.predict(sorted(images.glob("[0-9]*.jpg")))
    assert {name for one in found for name in one.names} == {"3"} and model.thresholds[3] == 0


def test_evaluate_counts_what_is_shown(chosen, capsys):
    code, out, _ = answer(capsys, "detect", "evaluate", str(chosen), "--workers", "0", "--json")
    three, four = (json.loads(out)["per_class"][name] for name in "34")
    assert code == 0 and (three["threshold"], four["threshold"]) == (0, 1)
    assert four["precision"] is None and three["precision"] is not None


def test_older_runs_have_no_thresholds(chosen, images, capsys):
    thresholds_of(chosen, {})
    code, out, err = answer(capsys, "detect", "evaluate", str(chosen), "--workers", "0", "--json")
    assert code == 0 and "keeps no score thresholds" in err
    assert {one["threshold"] for one in json.loads(out)["per_class"].values()} == {0.4}
    outs = [
        answer(capsys, "detect", "predict", str(chosen), str(images), "--json", *m)[1]
        for m in ([], ["--threshold", "0.4"])
    ]
    assert outs[0] == outs[1]


@pytest.mark.parametrize("wrong", [{"3": 0.5}, {str(i): 2 for i in range(10)}])
def test_wrong_thresholds_are_refused(chosen, images, capsys, wrong):
    thresholds_of(chosen, wrong)
    code, _, err = answer(capsys, "detect", "predict", str(chosen), str(images))
    assert code == 2 and "thresholds is missing or wrong" in err


@pytest.fixture
def images(digits, tmp_path) -> Path:
    folder = tmp_path / "some images"
    shutil.copytree(digits / "test", folder)
    (folder / "text.jpg").write_text("no image")
    video = cv2.VideoWriter(str(folder / "film.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 5.0, (160, 120))
    for grey in (50, 100, 150):
        video.write(np.full((120, 160, 3), grey, np.uint8))
    video.release()
    return folder


def test_predict_draws_and_writes_coco_results(finished, images, tmp_path, capsys):
    output = tmp_path / "drawn"
    words = ["detect", "predict", str(finished.folder), str(images), "--output", str(output), "--threshold", "0"]
    code, out, err = answer(capsys, *words, "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and len(rows) == 6 + 3 and "text.jpg is not an image" in err and "images/s" in err
    written = json.loads((output / "detections.json").read_text())
    assert [row["path"] for row in rows] == [image["file_name"] for image in written["images"]]
    assert len(written["annotations"]) == sum(len(row["objects"]) for row in rows) > 0
    first = written["annotations"][0]
    assert first.keys() >= {"id", "image_id", "category_id", "bbox", "area", "iscrowd", "score"}
    assert first["category_id"] in {category["id"] for category in written["categories"]}
    drawn = sorted(path.name for path in output.glob("*.jpg"))
    assert len(drawn) == 6 and Image.open(output / drawn[0]).size == (320, 320)
    film = cv2.VideoCapture(str(output / "film.webm"))
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == 3 and film.get(cv2.CAP_PROP_FPS) == 5
    assert int(film.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little") == b"VP80" and "film.webm, without the sound" in err
    assert "is not supported" not in err


def test_of_a_video_every_second_frame(finished, images, tmp_path, capsys):
    words = ["detect", "predict", str(finished.folder), str(images / "film.mp4"), "--stride", "2", "--json"]
    code, out, _ = answer(capsys, *words, "--output", str(tmp_path / "drawn"))
    assert code == 0 and [json.loads(line)["frame"] for line in out.splitlines()] == [0, 2]
    film = cv2.VideoCapture(str(tmp_path / "drawn" / "film.webm"))
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == 2 and film.get(cv2.CAP_PROP_FPS) == pytest.approx(2.5)
    assert [film.read()[1].mean() for _ in range(2)] == pytest.approx([50, 150], abs=10)
    assert answer(capsys, *words[:-2], "0")[0] == 2


def test_a_run_trained_on_tiles_goes_on_with_them(digits, tmp_path, capsys, monkeypatch):
    from mixtransfer.detection import evaluate
    from mixtransfer.detection.train import train

    run = train(tiny(digits, tmp_path / "r", tiles=200, overlap=0.3, iterations=2, eval_every=2))
    assert "Cut into tiles of 200 pixels that overlap by 30 %: " in capsys.readouterr().out
    picture = digits / "test" / "000001.jpg"
    found = load(run, threshold=0.001).predict(picture)
    tested = [one["score"] for one in json.loads(run.test_detections.read_text()) if one["image_id"] == 1]
    assert tested == pytest.approx(found.scores.tolist(), abs=1e-4)

    words = ["detect", "predict", str(run.folder), str(picture), "--threshold", "0.001", "--json"]
    code, out, err = answer(capsys, *words)
    things = json.loads(out)["objects"]
    assert code == 0 and [one["score"] for one in things] == pytest.approx(tested, abs=1e-4) and "as in training" in err
    whole = json.loads(answer(capsys, *words, "--tiles", "0")[1])["objects"]
    assert [one["box"] for one in whole] != [one["box"] for one in things]

    used = []
    monkeypatch.setattr(
        evaluate, "detect", lambda *args, tiling, **more: used.append(tiling) or detect(*args, tiling=tiling, **more)
    )
    words = ["detect", "evaluate", str(run.folder), "--workers", "0", "--json"]
    code, out, err = answer(capsys, *words)
    assert code == 0 and json.loads(out) == run.read_metrics()["test"] and "as in training" in err
    answer(capsys, *words, "--tiles", "128")
    answer(capsys, *words, "--tiles", "0")
    assert used == [Tiling(200, 0.3), Tiling(128, 0.3), None]


def test_tiles_that_are_too_small(digits, finished, capsys):
    run, data = str(finished.folder), str(digits)
    for words in (["predict", run, data], ["evaluate", run], ["train", data]):
        code, _, err = answer(capsys, "detect", *words, "--tiles", "10")
        says = "error: --tiles is 10; the side of a tile must be at least 64 pixels (0: no tiles).\n"
        assert (code, err) == (2, says)


def test_predict_without_a_usable_image(finished, images, capsys):
    code, _, err = answer(capsys, "detect", "predict", str(finished.folder), str(images / "text.jpg"))
    assert code == 2 and "None of the images" in err


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipe_becomes_options(recipe):
    verb = VERBS["detect train"]
    words = _with_recipes(verb, ["coco", "--config", str(recipe), "--batch-size", "24"])
    options = parse("detect train", TrainOptions, verb.positionals, words)
    assert recipe.stem.removesuffix("_200_epochs") == f"ssdlite_{options.backbone.replace('.', '_')}_coco"
    assert options.batch_size == 24 and options.iterations > 100_000 and options.optimizer == "sgd"


def test_unreadable_recipe(tmp_path, capsys):
    (tmp_path / "r.py").write_text("model = 1 / 0")
    assert main(["detect", "train", "x", "--config", str(tmp_path / "r.py")]) == 2
    assert "cannot be read" in capsys.readouterr().err
    assert builtins.__import__.__module__ == "builtins"  # which detectron2 bends while it reads


def test_other_runs_are_refused(tmp_path, capsys):
    (tmp_path / "config.yaml").write_text("{}")
    (tmp_path / "model.json").write_text(
        json.dumps({"task": "classification", "backbone": "mixnet_s", "classes": ["a"], "preprocessing": {}})
    )
    assert main(["detect", "predict", str(tmp_path), "x.jpg"]) == 2
    assert "not one for detection" in capsys.readouterr().err


def test_demo_makes_its_data_trains_and_draws(tmp_path, capsys):
    words = ["--data-root", str(tmp_path / "data"), "--output", str(tmp_path / "run")]
    assert main(["detect", "demo", "--weights", "none", "--iterations", "1", "--images", "8", *words]) == 0
    assert str(tmp_path / "run" / "detections") in capsys.readouterr().out
    assert len(list((tmp_path / "run" / "detections").glob("*.jpg"))) == 2


def test_an_image_has_as_many_objects_as_are_asked_for_and_says_so(finished, images, capsys):
    words = ["detect", "predict", str(finished.folder), str(images), "--threshold", "0", "--json", "--max-detections"]
    for most in (3, 150):
        code, out, err = answer(capsys, *words, str(most))
        counts = [len(json.loads(line)["objects"]) for line in out.splitlines()]
        assert code == 0 and max(counts) == most and f"has {most} objects or more" in err
    assert answer(capsys, *words, "0")[0] == 2


@pytest.mark.parametrize("most", [1, 120])
def test_as_many_objects_are_scored_as_are_asked_for(finished, monkeypatch, capsys, most):
    from mixtransfer.detection import evaluate

    scored = []

    def scores(records, detections, *rest):
        scored.extend(detections)
        return assess(records, detections, *rest)

    assess = evaluate.assess
    monkeypatch.setattr(evaluate, "assess", scores)
    words = ["--json", "--workers", "0", "--min-score", "0", "--max-detections", str(most)]
    assert answer(capsys, "detect", "evaluate", str(finished.folder), *words)[0] == 0
    assert max(len(one.boxes) for one in scored) == most


def test_crowded_images_are_told_and_a_run_keeps_its_limit(tmp_path, capsys):
    from coco_sets import make_coco
    from detect_tiny import tiny

    from mixtransfer.detection.model import open_detector
    from mixtransfer.detection.train import train

    said = []
    options = tiny(make_coco(tmp_path / "d", train=12), tmp_path / "r", iterations=2, eval_every=2, max_detections=1)
    run = train(options, say=said.append)
    assert any("12 images with more than 1 boxes" in line and "--max-detections" in line for line in said)
    assert open_detector(run.folder).model.detections_per_image == 1
    card = json.loads(run.model.read_text())
    del card["details"]["max_detections"]  # as older runs
    run.model.write_text(json.dumps(card))
    assert open_detector(run.folder).model.detections_per_image == 100


def test_evaluation_decodes_its_own_part_only(finished, capsys, monkeypatch):
    """The images to train on need only be there."""
    decoded = []

    def record(paths, *rest):
        decoded.extend(paths)
        return {}

    monkeypatch.setattr("mixtransfer.data.detection.listed.find_unusable", record)
    code, out, _ = answer(capsys, "detect", "evaluate", str(finished.folder), "--workers", "0", "--json")
    assert code == 0 and json.loads(out) == finished.read_metrics()["test"]
    assert {path.parent.name for path in decoded} == {"test"}
