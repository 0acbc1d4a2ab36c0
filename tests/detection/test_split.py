"""The split belongs to the run, for detectors too: whatever becomes of the data, what was tested was not trained on."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import detecting  # noqa: F401  skips without detectron2
import numpy as np
import pytest
import yaml
from coco_sets import contents, make_coco, write_images
from detect_tiny import tiny
from openers import VERBS, opening

from mixtransfer.commandline.cli import main
from mixtransfer.data.split_file import Split
from mixtransfer.deploy.quantize import labelled_views
from mixtransfer.deploy.source import open_source
from mixtransfer.detection import keeper
from mixtransfer.detection import train as train_module
from mixtransfer.detection.train import train
from mixtransfer.errors import Interrupted
from mixtransfer.runs.checkpoint import save_checkpoint
from mixtransfer.runs.run import Run
from mixtransfer.runs.run_data import boxes_of_run


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A data set ``d`` that is not split, a run of it that was interrupted, ``begun``, and a finished one, ``done``."""
    root = tmp_path_factory.mktemp("made")
    data = make_coco(root / "d", train=24)

    def save_and_interrupt(*args) -> None:
        save_checkpoint(*args)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(keeper, "save_checkpoint", save_and_interrupt)
        train(tiny(data, root / "begun"), say=lambda _: None)
    train(tiny(data, root / "done"), say=lambda _: None)
    return root


@pytest.fixture
def copy(made, tmp_path) -> Path:
    """The same, to be changed."""
    for name in ("d", "begun", "done"):
        shutil.copytree(made / name, tmp_path / name)
    for name in ("begun", "done"):
        config = Run(tmp_path / name).config
        config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), "data": str(tmp_path / "d")}))
    return tmp_path


def edit(data: Path, change: Callable[[dict], object]) -> None:
    file = data / "annotations" / "instances_train.json"
    coco = json.loads(file.read_text())
    change(coco)
    file.write_text(json.dumps(coco))


def grow(data: Path) -> None:
    more = contents(6, first=200)
    write_images(data / "train", more)
    edit(data, lambda coco: [coco[key].extend(more[key]) for key in ("images", "annotations")])


def shrink(data: Path) -> None:
    """An image that is trained on and one that is tested go."""
    split = Split.read(data.with_name("done") / "split.csv")
    for part in ("train", "test"):
        name = next(name for name, its in zip(split.names, split.parts, strict=True) if its == part)
        (data / name).unlink()

        def without(coco: dict, gone: str = Path(name).name) -> None:
            number = next(image["id"] for image in coco["images"] if image["file_name"] == gone)
            coco["images"] = [image for image in coco["images"] if image["id"] != number]
            coco["annotations"] = [box for box in coco["annotations"] if box["image_id"] != number]

        edit(data, without)


def rename(data: Path) -> None:
    """The first image goes, and each of the others takes the name of the one before."""
    (data / "train" / "1.jpg").unlink()
    for number in range(2, 25):
        (data / "train" / f"{number}.jpg").rename(data / "train" / f"{number - 1}.jpg")

    def move_up(coco: dict) -> None:
        coco["images"] = [{**image, "file_name": f"{image['id'] - 1}.jpg"} for image in coco["images"][1:]]
        coco["annotations"] = [box for box in coco["annotations"] if box["image_id"] != 1]

    edit(data, move_up)


CHANGES = {"grow": grow, "shrink": shrink, "rename": rename}
TOLD = {
    "grow": "6 images of the data came after",
    "shrink": "2 images of the split are missing and left out: 1 to train on, 1 to test",
    "rename": "kept their part of the split under other names",
}


def pixels(records) -> set[bytes]:
    return {record.file.read_bytes() for record in records}


def answer(capsys, *words) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(list(map(str, words)))
    return code, *capsys.readouterr()


@pytest.mark.parametrize("change", CHANGES)
def test_a_resumed_training_never_sees_a_test_image(made, copy, change, monkeypatch, capsys):
    before = {part: pixels(records) for part, records in boxes_of_run(Run(made / "done")).parts.items()}
    assert not before["new"] and before["train"].isdisjoint(before["test"]) and len(before["test"]) >= 3
    CHANGES[change](copy / "d")
    seen = {}
    launch = train_module.train_on_devices

    def look(run, options, dataset, *more):
        seen.update({part: pixels(records) for part, records in dataset.parts.items()})
        return launch(run, options, dataset, *more)

    monkeypatch.setattr(train_module, "train_on_devices", look)
    code, out, err = answer(capsys, "detect", "train", "--resume", copy / "begun")
    assert code == 0, err
    for part in ("train", "val", "test"):
        assert seen[part] and seen[part] <= before[part]
    assert len(seen["new"]) == (6 if change == "grow" else 0)
    assert TOLD[change] in out and "test" in Run(copy / "begun").read_metrics()
    # The labels are those of the classes that the detector had before.
    tested = json.loads(Run(copy / "begun").test_detections.read_text())
    assert {one["category_id"] for one in tested} <= {3, 7}


@pytest.mark.parametrize("change", CHANGES)
def test_evaluate_scores_the_test_images_that_are_left(made, copy, change, capsys):
    before = pixels(boxes_of_run(Run(made / "done")).test)
    CHANGES[change](copy / "d")
    left = boxes_of_run(Run(copy / "done")).test
    assert pixels(left) <= before and len(left) >= len(before) - 1
    words = ["detect", "evaluate", copy / "done", "--json", "--workers", "0", "--batch-size", "4"]
    code, out, err = answer(capsys, *words)
    assert code == 0 and TOLD[change] in err
    given = answer(capsys, *words, "--data", copy / "d")
    assert given[0] == 0 and json.loads(given[1]) == json.loads(out)


@pytest.mark.parametrize("change", CHANGES)
def test_int8_is_calibrated_on_what_was_trained_on(made, copy, change):
    CHANGES[change](copy / "d")
    source = open_source(copy / "done")
    trained = {source.view(record.image()).tobytes() for record in boxes_of_run(Run(made / "done")).train}
    calibrated = {view.tobytes() for view in labelled_views(source).calibration}
    assert calibrated <= trained and len(calibrated) >= len(trained) - 1


def renamed_class(coco: dict) -> None:
    coco["categories"][1]["name"] = "kitten"


def added_class(coco: dict) -> None:
    coco["categories"].append({"id": 9, "name": "emu"})
    coco["annotations"][0]["category_id"] = 9


def removed_class(coco: dict) -> None:
    coco["categories"] = coco["categories"][1:]
    coco["annotations"] = [box for box in coco["annotations"] if box["category_id"] == 3]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (renamed_class, "'kitten' is new and 'cat' is gone"),
        (added_class, "'emu' is new"),
        (removed_class, "'dog' is gone"),
    ],
)
@pytest.mark.parametrize("verb", VERBS)
def test_other_classes_are_refused_by_name(copy, change, says, verb, capsys):
    edit(copy / "d", change)
    code, _, err = answer(capsys, *opening(verb, "detect", copy))
    assert code == 2 and says in err.splitlines()[-1] and "Traceback" not in err


@pytest.mark.parametrize("verb", VERBS)
def test_an_old_run_without_its_split_says_how_to_go_on(copy, verb, capsys):
    for name in ("begun", "done"):
        (copy / name / "split.csv").unlink()
    code, _, err = answer(capsys, *opening(verb, "detect", copy))
    assert code == 2 and "keeps no split" in err and "train anew" in err and err.count("\n") == 1


def test_categories_in_another_order_keep_their_names(copy, capsys):
    """Ids that change places too: what is called cat is cat."""
    words = ["detect", "evaluate", copy / "done", "--json", "--workers", "0", "--batch-size", "4"]
    before = json.loads(answer(capsys, *words)[1])

    def turn(coco: dict) -> None:
        coco["categories"] = [{"id": 3, "name": "dog"}, {"id": 7, "name": "cat"}]
        for box in coco["annotations"]:
            box["category_id"] = {3: 7, 7: 3}[box["category_id"]]

    edit(copy / "d", turn)
    code, out, _ = answer(capsys, *words)
    after = json.loads(out)
    assert code == 0 and np.isclose(after["AP"], before["AP"])
    assert after["classes"] == pytest.approx(before["classes"])


def test_images_of_training_in_another_place_are_known(made, copy, capsys):
    """What is not split is scored in the run's parts; what is, with a warning."""
    (copy / "d").rename(copy / "moved")
    code, out, err = answer(capsys, "detect", "evaluate", copy / "done", copy / "moved", "--json", "--workers", "0")
    assert code == 0 and "so the score is too high" not in err
    assert json.loads(out)["AP"] == pytest.approx(Run(copy / "done").read_metrics()["test"]["AP"], abs=1e-6)
    words = ["detect", "evaluate", copy / "done", copy / "moved", "--split", "train", "--json", "--workers", "0"]
    code, out, err = answer(capsys, *words)
    assert code == 0 and "was trained or validated on" in err and "so the score is too high" in err
