"""The split belongs to the run: whatever becomes of the folder, what was tested was not trained on."""

import contextlib
import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from folders import make_folder
from openers import VERBS, opening
from tiny import tiny

from mixtransfer.classification import train as train_module
from mixtransfer.classification.options import TrainOptions
from mixtransfer.classification.train import train
from mixtransfer.commandline.cli import main
from mixtransfer.data.load import load_dataset
from mixtransfer.errors import Interrupted, UserError
from mixtransfer.runs.run import Run
from mixtransfer.runs.run_data import images_of_run

CLASSES = {"cat": 20, "dog": 20}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A data set ``d``, a run of it that was interrupted after two epochs, ``begun``, and a finished one, ``done``."""
    root = tmp_path_factory.mktemp("made")
    data = make_folder(root / "d", CLASSES, size=32)

    def interrupt(sentence: str) -> None:
        if sentence.startswith("Epoch 3/3"):
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        train(tiny(data, root / "begun"), say=interrupt)
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


def grow(data: Path) -> None:
    make_folder(data, {"cat": 0, "dog": 0}, size=32)
    more = make_folder(data.with_name("more"), {"cat": 5, "dog": 5}, size=32, seed=7)
    for path in more.rglob("*.jpg"):
        shutil.copy(path, data / path.parent.name / f"new{path.name}")


def shrink(data: Path) -> None:
    """One image of each class that is trained on, and one that is tested, go."""
    dataset = load_dataset(str(data))
    for label in (0, 1):
        for examples in (dataset.train, dataset.test):
            examples.images[int(np.flatnonzero(examples.labels == label)[0])].unlink()


def number_again(data: Path) -> None:
    """The first image of each class goes, and the others move up."""
    for name in CLASSES:
        first, *rest = sorted((data / name).iterdir())
        first.unlink()
        for path in rest:
            path.rename(path.with_name(f"{int(path.stem) - 1:03}.jpg"))


CHANGES = {"grow": grow, "shrink": shrink, "number_again": number_again}


def pixels(examples):
    return {np.asarray(examples.image(i)).tobytes() for i in range(len(examples))}


def parts_seen(data: Path) -> dict[str, set[bytes]]:
    """The pixels of each part, as they were when the runs were trained."""
    return {part: pixels(its) for part, its in load_dataset(str(data)).parts.items()}


def answer(capsys, *words) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(list(map(str, words)))
    return code, *capsys.readouterr()


def test_a_run_keeps_its_split(made):
    with (made / "done" / "split.csv").open() as file:
        rows = list(csv.DictReader(file))
    dataset = load_dataset(str(made / "d"))
    assert len(rows) == 40 and {row["label"] for row in rows} == CLASSES.keys()
    tested = {row["path"] for row in rows if row["part"] == "test"}
    assert tested == {f"{path.parent.name}/{path.name}" for path in dataset.test.images}
    with (made / "done" / "test_predictions.csv").open() as file:
        assert {row["image"] for row in csv.DictReader(file)} == tested


@pytest.mark.parametrize("change", CHANGES)
def test_a_resumed_training_never_sees_a_test_image(made, copy, change, monkeypatch, capsys):
    before = parts_seen(made / "d")
    CHANGES[change](copy / "d")
    seen = {}

    def prepare(*args):
        training = prepared(*args)
        seen.update({part: pixels(its) for part, its in training.dataset.parts.items()})
        return training

    prepared = train_module.prepare
    monkeypatch.setattr(train_module, "prepare", prepare)
    code, out, err = answer(capsys, "classify", "train", "--resume", copy / "begun")
    assert code == 0, err
    for part in ("train", "val", "test"):
        assert seen[part] <= before[part]
    assert seen["new"].isdisjoint(set.union(*(seen[part] for part in ("train", "val", "test"))))
    told = {
        "grow": "10 images of the data came after",
        "shrink": "4 images of the split are missing and left out: 2 to train on, 2 to test",
        "number_again": "kept their part of the split under other names",
    }
    assert told[change] in out and "test" in Run(copy / "begun").read_metrics()


def test_without_a_change_the_resumed_training_ends_like_the_other(copy, capsys):
    assert answer(capsys, "classify", "train", "--resume", copy / "begun")[0] == 0
    assert Run(copy / "begun").read_metrics()["test"] == Run(copy / "done").read_metrics()["test"]


@pytest.mark.parametrize("change", CHANGES)
def test_evaluate_scores_the_test_images_that_are_left(copy, change, capsys):
    before = len(load_dataset(str(copy / "d")).test)
    CHANGES[change](copy / "d")
    code, out, err = answer(capsys, "classify", "evaluate", copy / "done", "--json", "--workers", "0")
    assert code == 0 and err
    left = images_of_run(Run(copy / "done")).test
    assert json.loads(out)["images"] == len(left) and before - 2 <= len(left) <= before
    given, _, _ = answer(capsys, "classify", "evaluate", copy / "done", copy / "d", "--json", "--workers", "0")
    assert given == 0


def test_new_images_can_be_scored_and_all_says_what_it_takes(copy, capsys):
    grow(copy / "d")
    words = ["classify", "evaluate", copy / "done", "--json", "--workers", "0", "--split"]
    code, out, _ = answer(capsys, *words, "new")
    assert code == 0 and json.loads(out)["images"] == 10
    code, out, err = answer(capsys, *words, "all")
    dataset = images_of_run(Run(copy / "done"))
    counts = f"{len(dataset.train)} train, {len(dataset.val)} val, {len(dataset.test)} test, 10 new"
    assert code == 0 and json.loads(out)["images"] == 50 and counts in err


def test_without_new_images_there_are_none_to_score(copy, capsys):
    code, _, err = answer(capsys, "classify", "evaluate", copy / "done", "--split", "new")
    assert code == 2 and "d has no new images to score: choose another --split" in err


def renamed(data: Path) -> None:
    (data / "cat").rename(data / "kitten")


def added(data: Path) -> None:
    make_folder(data, {"emu": 5})


def removed(data: Path) -> None:
    shutil.rmtree(data / "dog")


def emptied(data: Path) -> None:
    for path in (data / "dog").iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (renamed, "'kitten' is new and 'cat' is gone"),
        (added, "'emu' is new"),
        (removed, "'dog' is gone"),
        (emptied, "has lost all images that the class 'dog'"),
    ],
)
@pytest.mark.parametrize("verb", VERBS)
def test_other_classes_are_refused_by_name(copy, change, says, verb, capsys):
    change(copy / "d")
    code, _, err = answer(capsys, *opening(verb, "classify", copy))
    assert code == 2 and says in err and err.count("\n") == 1


@pytest.mark.parametrize("verb", VERBS)
def test_an_old_run_without_its_split_says_how_to_go_on(copy, verb, capsys):
    for name in ("begun", "done"):
        (copy / name / "split.csv").unlink()
    code, _, err = answer(capsys, *opening(verb, "classify", copy))
    assert code == 2 and "keeps no split" in err and "train anew" in err and err.count("\n") == 1


def test_an_old_run_is_evaluated_on_data_that_is_given(copy, capsys):
    (copy / "done" / "split.csv").unlink()
    words = ["classify", "evaluate", copy / "done", copy / "d", "--json", "--workers", "0"]
    code, out, err = answer(capsys, *words)
    assert code == 0 and json.loads(out)["images"] == 40 and "may have been trained on some of these" in err


def test_a_run_that_has_learnt_nothing_yet_draws_its_split(copy, capsys):
    """As when it was killed before it could write it."""
    folder = copy / "begun"
    for path in folder.iterdir():
        if path.name != "config.yaml":
            path.unlink()
    assert answer(capsys, "classify", "train", "--resume", folder)[0] == 0
    assert Run(folder).split.read_text() == Run(copy / "done").split.read_text()


def test_a_damaged_split_gets_one_sentence(copy, capsys):
    split = copy / "done" / "split.csv"
    split.write_text(split.read_text().replace(",test,", ",exam,", 1))
    code, _, err = answer(capsys, "classify", "evaluate", copy / "done")
    assert code == 2 and "split.csv is damaged in line" in err and err.count("\n") == 1


def test_a_split_of_which_no_image_is_there(copy, capsys):
    shutil.rmtree(copy / "d")
    make_folder(copy / "d", CLASSES, size=32, seed=9)
    for path in (copy / "d").rglob("*.jpg"):
        path.rename(path.with_name(f"other{path.name}"))
    code, _, err = answer(capsys, "classify", "evaluate", copy / "done")
    assert code == 2 and "None of the images of" in err and err.count("\n") == 1


def test_data_that_has_moved_is_asked_for(copy, capsys):
    (copy / "d").rename(copy / "moved")
    code, _, err = answer(capsys, "classify", "evaluate", copy / "done")
    assert code == 2 and "write its new place into" in err and err.count("\n") == 1
    config = Run(copy / "done").config
    config.write_text(config.read_text().replace(str(copy / "d"), str(copy / "moved")))
    code, out, _ = answer(capsys, "classify", "evaluate", copy / "done", "--json", "--workers", "0")
    metrics = Run(copy / "done").read_metrics()["test"]
    assert code == 0 and json.loads(out)["top1"] == pytest.approx(metrics["top1"])


def test_the_runs_own_images_in_another_place_are_recognized(copy, capsys):
    (copy / "d").rename(copy / "moved")
    words = ["classify", "evaluate", copy / "done", copy / "moved", "--json", "--workers", "0"]
    code, out, err = answer(capsys, *words)
    assert code == 0 and json.loads(out)["images"] == 40
    tested = sum(",test," in line for line in Run(copy / "done").split.read_text().splitlines())
    assert (
        f"was trained or validated on {40 - tested} of these 40 images, so the score is too high; --split test" in err
    )
    code, out, err = answer(capsys, *words, "--split", "test")
    assert code == 0 and json.loads(out)["images"] == tested and not err


def test_other_data_is_not_warned_of(copy, capsys):
    other = make_folder(copy / "other", {"cat": 4, "dog": 4}, size=32, seed=3)
    words = ["classify", "evaluate", copy / "done", other, "--json", "--workers", "0"]
    code, out, err = answer(capsys, *words)
    assert code == 0 and json.loads(out)["images"] == 8 and not err


def test_a_class_without_training_images_cannot_go_on(copy, capsys):
    dataset = load_dataset(str(copy / "d"))
    for i in np.flatnonzero(dataset.train.labels == 0):
        dataset.train.images[i].unlink()
    code, _, err = answer(capsys, "classify", "train", "--resume", copy / "begun")
    assert code == 2 and "no image to train the class 'cat' on is left" in err.splitlines()[-1]


def test_all_test_images_gone(copy, capsys):
    for path in load_dataset(str(copy / "d")).test.images:
        path.unlink()
    code, _, err = answer(capsys, "classify", "evaluate", copy / "done")
    assert code == 2 and "has no test images to score" in err.splitlines()[-1]
    with pytest.raises(UserError, match="no image to test on is left"), contextlib.redirect_stdout(None):
        train(TrainOptions(resume=str(copy / "begun"), workers=0))


def test_a_split_that_names_an_image_twice_is_damaged(copy, capsys):
    split = Run(copy / "done").split
    lines = split.read_text().splitlines()
    split.write_text("\n".join([*lines, lines[1].replace(",train,", ",test,")]) + "\n")
    code, _, err = answer(capsys, "classify", "evaluate", copy / "done")
    assert code == 2 and "more than once" in err and err.count("\n") == 1


def test_new_names_of_images_that_were_trained_on_are_told(copy, capsys):
    """Copies beside the originals, as they come when folders are merged."""
    dataset = load_dataset(str(copy / "d"))
    for i in range(3):
        path = dataset.train.images[i]
        shutil.copy(path, path.with_name(f"copy{path.name}"))
    words = ["classify", "evaluate", copy / "done", "--json", "--workers", "0", "--split", "new"]
    code, out, err = answer(capsys, *words)
    assert code == 0 and json.loads(out)["images"] == 3
    assert "was trained or validated on 3 of these 3 images" in err


def test_new_images_of_groups_that_were_trained_on_are_told(tmp_path, capsys):
    data = make_folder(tmp_path / "d", CLASSES, size=32)
    run = train(tiny(data, tmp_path / "r", group_by=r"(\d)\.jpg", epochs=1), say=lambda _: None)
    grow(data)  # by five of each class, in the groups 0 to 4
    words = ["classify", "evaluate", run.folder, "--json", "--workers", "0", "--split", "new"]
    code, out, err = answer(capsys, *words)
    assert code == 0 and json.loads(out)["images"] == 10
    used = {row["group"] for row in csv.DictReader(run.split.open()) if row["part"] in ("train", "val")}
    inside = 2 * len(used & set("01234"))
    assert inside > 0 and f"{inside} images of groups that were trained or validated on" in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--epochs", "12"], "goes on with its own --epochs 3, not 12"),
        (["--lr", "5"], "goes on with its own --lr"),
        (["--backbone", "resnet50"], "goes on with its own --backbone mobilenetv3_small_050, not resnet50"),
    ],
)
def test_options_that_a_resumed_training_has_already_are_refused(copy, words, says, capsys):
    code, _, err = answer(capsys, "classify", "train", "--resume", copy / "begun", *words)
    assert code == 2 and says in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [("epochs", 1, "has trained 2 epochs already, more than the 1"), ("backbone", "resnet18", "but the run is of")],
)
def test_a_configuration_that_was_changed_by_hand(copy, key, value, says, capsys):
    config = Run(copy / "begun").config
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), key: value}))
    code, _, err = answer(capsys, "classify", "train", "--resume", copy / "begun")
    assert code == 2 and says in err.splitlines()[-1] and "Traceback" not in err
