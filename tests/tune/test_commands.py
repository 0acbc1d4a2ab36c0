"""`tune` as a user calls it."""

import json
from dataclasses import replace

import pytest
import yaml
from folders import make_folder

from mixtransfer.cli import main
from mixtransfer.data.split_file import Split
from mixtransfer.errors import UserError
from mixtransfer.run import Run
from mixtransfer.tune import study as study_module
from mixtransfer.tune.commands import run_tuning
from mixtransfer.tune.options import TuneOptions

pytest.importorskip("optuna", reason="optuna is not installed: pip install 'mixtransfer[search]'")

BACKBONE = "mobilenetv3_small_050"
WORDS = ["--backbone", BACKBONE, "--weights", "none", "--epochs", "1", "--image-size", "32", "--batch-size", "8"]
WORDS += ["--folds", "2", "--workers", "0"]


@pytest.fixture(scope="session")
def animals(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("tune") / "animals", {"cat": 14, "dog": 14}, size=32)


@pytest.fixture(scope="session")
def tuned(animals, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned") / "study"
    assert main(["tune", str(animals), *WORDS, "--trials", "3", "--output", str(folder)]) == 0
    return folder


def answer(folder):
    return json.loads((folder / "tune.json").read_text())


def test_it_ends_with_settings_that_train_takes(tuned, tmp_path, capsys):
    found = answer(tuned)
    assert found["tried"] == 3 and found["best"]["loss"] <= found["default"]["loss"]
    recipe = yaml.safe_load((tuned / "best.yaml").read_text())
    assert recipe["backbone"] == BACKBONE and recipe["epochs"] == 1
    assert {"lr", "weight_decay", "augment"} <= found["default"]["settings"].keys()
    if found["test"] is not None:
        assert {name: recipe[name] for name in found["best"]["settings"]} == found["best"]["settings"]
    words = ["--config", str(tuned / "best.yaml"), "--output", str(tmp_path / "run"), "--workers", "0"]
    assert main(["classify", "train", *words]) == 0
    assert "Tuning on animals" in (tuned / "report.html").read_text()


def test_no_trial_sees_the_test_images(tuned):
    whole = Split.read(tuned / "split.csv")
    tested = {name for name, part in zip(whole.names, whole.parts, strict=True) if part == "test"}
    seen = [Split.read(file) for file in tuned.glob("trials/*/fold-*/split.csv")]
    assert tested and seen and not any(tested & {*split.names} for split in seen)
    # And every other image is tested on in one fold of the defaults.
    folds = [Split.read(file) for file in tuned.glob("trials/default/fold-*/split.csv")]
    once = [name for split in folds for name, part in zip(split.names, split.parts, strict=True) if part == "test"]
    assert sorted(once) == sorted({*whole.names} - tested)


def test_more_trials_go_on(tuned, animals, tmp_path, capsys, monkeypatch):
    trained = []
    real = study_module.train
    monkeypatch.setattr(study_module, "train", lambda options, *more: trained.append(options) or real(options, *more))
    before = {file: file.stat().st_mtime_ns for file in tuned.glob("trials/*/fold-*/model.safetensors")}
    assert main(["tune", str(animals), *WORDS, "--trials", "4", "--output", str(tuned), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tried"] == 4
    assert len(trained) <= 2 and all(file.stat().st_mtime_ns == when for file, when in before.items())


def options_of(animals, folder, **changes):
    usual = TuneOptions(
        str(animals), BACKBONE, "none", str(folder), trials=3, folds=2, epochs=1, batch_size=8, image_size=32, workers=0
    )
    return replace(usual, **changes)


def test_an_interrupted_trial_goes_on_with_its_settings(animals, tmp_path, monkeypatch):
    """What was finished of it is not trained anew."""
    real, trained = study_module.train, []

    def interrupted(options, *more):
        if len(trained) == 3:  # in the second fold of the first trial after the defaults
            raise KeyboardInterrupt
        trained.append(options.output)
        return real(options, *more)

    monkeypatch.setattr(study_module, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_tuning(options_of(animals, tmp_path / "study", trials=2))
    monkeypatch.setattr(
        study_module, "train", lambda options, *more: trained.append(options.output) or real(options, *more)
    )
    run_tuning(options_of(animals, tmp_path / "study", trials=2))
    folders = [name for name in trained if name and "default" not in name]
    assert len(folders) == 2 and len({name.rpartition("fold")[0] for name in folders}) == 1
    assert answer(tmp_path / "study")["tried"] == 2


def test_settings_that_cannot_be_trained_are_a_failed_trial(animals, tmp_path, monkeypatch):
    real, said = study_module.train, []

    def failing(options, *more):
        if options.output and "default" not in options.output:
            raise UserError("The training diverged: lower --lr.")
        return real(options, *more)

    monkeypatch.setattr(study_module, "train", failing)
    with pytest.raises(UserError, match="Most trials fail, the last one so: The training diverged"):
        run_tuning(options_of(animals, tmp_path / "study", trials=2), said.append)
    assert any("Trial 1 failed: The training diverged" in text for text in said)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--folds", "1"], "--folds"),
        (["--folds", "50"], "take fewer --folds"),
        (["--minutes", "0"], "--minutes is 0.0; it must be more than 0"),
        (["--trials", "0"], "--trials"),
        (["--storage", "nosuch://x"], "choose another --storage"),
        (["--backbone", "nosuch"], "There is no backbone"),
    ],
)
def test_bad_input_is_one_sentence(animals, tmp_path, capsys, words, says):
    assert main(["tune", str(animals), *WORDS, "--output", str(tmp_path / "s"), *words]) == 2
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1


def test_another_folder_is_left_alone(tuned, animals, tmp_path, capsys):
    run = Run(tuned / "trials" / "default" / "fold-1")
    assert main(["tune", str(animals), *WORDS, "--output", str(run.folder)]) == 2
    assert "holds something else, not trials" in capsys.readouterr().err
