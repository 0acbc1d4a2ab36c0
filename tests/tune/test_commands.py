"""`tune` as a user calls it."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import yaml
from folders import make_folder

from mixtransfer.commandline.cli import main
from mixtransfer.data.split_file import Split
from mixtransfer.errors import Interrupted, UserError
from mixtransfer.runs.run import Run
from mixtransfer.tune import results
from mixtransfer.tune import study as study_module
from mixtransfer.tune.commands import run_tuning
from mixtransfer.tune.options import TuneOptions
from mixtransfer.tune.study import named

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
    assert found["test"] is not None or recipe.keys().isdisjoint({"lr", "weight_decay"})
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
    in_trials = [options for options in trained if options.output and "final" not in options.output]
    assert len(in_trials) <= 2 and all(file.stat().st_mtime_ns == when for file, when in before.items())


def options_of(animals, folder, **changes):
    usual = TuneOptions(
        str(animals), BACKBONE, "none", str(folder), trials=3, folds=2, epochs=1, batch_size=8, image_size=32, workers=0
    )
    return replace(usual, **changes)


def test_what_is_tested_are_the_settings_that_are_told(animals, tmp_path, monkeypatch):
    """With later trials, too, that find others."""
    others = iter(range(2))

    def another(default, tried):  # each time
        return [one for one in tried if one.settings != default.settings][next(others)]

    monkeypatch.setattr(results, "choose", another)
    seen = []
    for trials in (2, 8):
        run_tuning(options_of(animals, tmp_path / "study", trials=trials))
        found = answer(tmp_path / "study")
        seen.append(found["best"]["settings"])
        recipe = yaml.safe_load((tmp_path / "study" / "best.yaml").read_text())
        assert {name: recipe[name] for name in found["best"]["settings"]} == found["best"]["settings"]
        run = Run(tmp_path / "study" / "final" / named(found["best"]["settings"]))
        trained = run.read_config()
        assert {name: trained[name] for name in found["best"]["settings"]} == found["best"]["settings"]
        assert found["test"]["best"] == run.read_metrics()["test"]["top1"]
        default = Run(tmp_path / "study" / "final" / "default").read_metrics()["test"]["top1"]
        difference = found["test"]["best"]["value"] - default["value"]
        assert found["test"]["difference"]["value"] == pytest.approx(difference)
        assert "test images, which no trial saw" in (tmp_path / "study" / "report.html").read_text()
    assert seen[0] != seen[1]


def test_an_interrupt_says_how_the_whole_goes_on(animals, tmp_path, monkeypatch, capsys):
    def stopped(*_):
        raise Interrupted("Interrupted. Go on with: mixtransfer classify train --resume x")

    monkeypatch.setattr(study_module, "train", stopped)
    assert main(["tune", str(animals), *WORDS, "--output", str(tmp_path / "study")]) == 130
    assert capsys.readouterr().err.strip() == "Interrupted. The same command goes on."


def test_two_processes_share_the_trials(animals, tmp_path):
    words = [sys.executable, "-m", "mixtransfer", "tune", str(animals), *WORDS, "--trials", "4", "--output", "study"]
    both = [subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(2)]
    said = [process.communicate()[0].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert 4 <= answer(tmp_path / "study")["tried"] <= 5


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
