"""`compare` as a user calls it."""

import csv
import json
import shutil
import time
from dataclasses import replace

import numpy as np
import psutil
import pytest
import yaml
from comparison_words import LARGE, SMALL, TINY
from folders import make_folder
from processes import Command

from mixtransfer.classification.answers import read_answers
from mixtransfer.classification.options import TrainOptions
from mixtransfer.commandline.cli import main
from mixtransfer.comparison import cost, workers
from mixtransfer.comparison import study as study_module
from mixtransfer.comparison.cost import measure_costs
from mixtransfer.comparison.rates import best_rate
from mixtransfer.data.load import load_dataset
from mixtransfer.deploy import benchmark
from mixtransfer.deploy.runtimes import MEASURED, RUNTIMES
from mixtransfer.errors import UserError
from mixtransfer.runs.run import Run


def answer(capsys, *words: str) -> tuple[int, str, str]:
    """Exit code, standard output and errors of `compare`."""
    capsys.readouterr()
    code = main(["compare", *map(str, words)])
    return code, *capsys.readouterr()


def runs(study):
    return {path.name: Run(path) for path in (study / "runs").iterdir() if path.is_dir()}


def test_a_study_has_a_run_for_each_backbone_and_seed(study):
    assert set(runs(study)) == {f"{name}-seed{seed}" for name in (SMALL, LARGE) for seed in (0, 1)}
    for name, run in runs(study).items():
        assert run.read_config()["seed"] == int(name[-1]) and run.read_metrics()["test"]


def test_comparison_json_has_an_object_a_backbone(study):
    first, second = json.loads((study / "comparison.json").read_text())
    assert (first["backbone"], second["backbone"]) == (SMALL, LARGE)
    for one in (first, second):
        hits = [run.read_metrics()["test"]["top1"]["value"] for run in map(Run, map(type(study), one["runs"]))]
        assert one["by_seed"] == pytest.approx(hits) and one["test_images"] == 30
        assert one["top1"]["value"] == pytest.approx(sum(hits) / 2)
        assert one["top1"]["low"] <= one["top1"]["value"] <= one["top1"]["high"]
    # Without resnet50 the one with the most multiply-adds is the baseline.
    assert first["macs"] < second["macs"] and second["against_baseline"] is None
    against = first["against_baseline"]
    assert against["baseline"] == LARGE and len(against["mcnemar"]) == 2
    assert against["difference"]["value"] == pytest.approx(first["top1"]["value"] - second["top1"]["value"])
    assert first["chosen_by"] == "validation log_loss"
    chosen = min((first, second), key=lambda one: one["validation"]["log_loss"])
    assert chosen["chosen"] and one["validation"]["images"] > 0


def test_comparison_csv_and_report_say_the_same(study):
    objects = json.loads((study / "comparison.json").read_text())
    with (study / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["backbone"] for row in rows] == [SMALL, LARGE]
    assert [float(row["top1.value"]) for row in rows] == [one["top1"]["value"] for one in objects]
    page = (study / "report.html").read_text()
    for one in objects:
        assert one["backbone"] in page and f"{100 * one['top1']['value']:.2f}" in page
    assert "score_against_macs.png" in {path.name for path in (study / "figures").iterdir()}


def test_what_is_finished_is_not_repeated(study, animals, capsys):
    before = {name: run.weights.stat().st_mtime_ns for name, run in runs(study).items()}
    words = [animals, "--backbones", f"{SMALL},{LARGE}", "--seeds", "2", "--rounds", "0", *TINY, "--output", study]
    code, out, _ = answer(capsys, *words, "--json")
    assert code == 0 and [one["backbone"] for one in json.loads(out)] == [SMALL, LARGE]
    assert {name: run.weights.stat().st_mtime_ns for name, run in runs(study).items()} == before


def test_later_trainings_of_a_study_keep_to_its_parts_when_the_data_grows(image_folder, tmp_path, in_process, capsys):
    words = [image_folder, "--backbones", f"{SMALL},{LARGE}", "--seeds", "1", "--rounds", "0", *TINY]
    words += ["--output", tmp_path / "study"]
    assert answer(capsys, *words)[0] == 0
    first, second = runs(tmp_path / "study").values()
    shutil.rmtree(second.folder)
    make_folder(image_folder / "new", {"cat": 12}, seed=7)
    for file in (image_folder / "new" / "cat").iterdir():
        file.rename(image_folder / "cat" / f"new-{file.name}")
    shutil.rmtree(image_folder / "new")
    code, out, err = answer(capsys, *words)
    assert code == 0, err
    assert second.split.read_text() == first.split.read_text() and "new-" not in first.split.read_text()
    assert "12 images of the data came after the split" in out


def test_another_study_in_the_same_folder_is_refused(study, animals, capsys):
    words = [*TINY, "--image-size", "64", "--output", study]
    code, _, err = answer(capsys, animals, "--backbones", SMALL, *words)
    assert code == 2 and "holds a study whose --image-size is 32, not 64" in err and err.count("\n") == 1


def test_runs_can_be_compared_without_training(study, tmp_path, capsys):
    folders = [run.folder for run in runs(study).values()]
    code, out, _ = answer(capsys, *folders, "--rounds", "0", "--baseline", SMALL, "--output", tmp_path / "both")
    assert code == 0 and "Most accurate" in out
    ours = {one["backbone"]: one for one in json.loads((tmp_path / "both" / "comparison.json").read_text())}
    theirs = {one["backbone"]: one for one in json.loads((study / "comparison.json").read_text())}
    assert {name: one["top1"] for name, one in ours.items()} == {name: one["top1"] for name, one in theirs.items()}
    assert ours[LARGE]["against_baseline"]["baseline"] == SMALL


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda rows: rows[:-1], "they have 30 and 29 test images"),
        (lambda rows: [["other.jpg", *rows[0][1:]], *rows[1:]], "their test images differ"),
        (lambda rows: [[rows[0][0], "zebra", *rows[0][2:]], *rows[1:]], "the class 'zebra' is in one test set only"),
    ],
)
def test_runs_of_other_test_sets_are_refused(study, tmp_path, capsys, change, reason):
    first, second = runs(study)[f"{LARGE}-seed0"], tmp_path / "other"
    shutil.copytree(runs(study)[f"{SMALL}-seed0"].folder, second)
    with Run(second).test_predictions.open() as file:
        header, *rows = csv.reader(file)
    with Run(second).test_predictions.open("w") as file:
        csv.writer(file).writerows([header, *change(rows)])
    code, _, err = answer(capsys, first.folder, second, "--rounds", "0", "--output", tmp_path / "both")
    assert code == 2 and reason in err and "cannot be compared" in err and err.count("\n") == 1


def test_a_backbone_that_fails_is_a_row_with_its_reason(study, animals, in_process, tmp_path, capsys):
    """The weights fit the first backbone only."""
    weights = ["--weights", runs(study)[f"{SMALL}-seed0"].weights, *TINY[2:]]
    words = [animals, "--backbones", f"{SMALL},{LARGE}", "--seeds", "1", "--rounds", "0", *weights]
    code, out, _ = answer(capsys, *words, "--output", tmp_path / "study")
    good, bad = json.loads((tmp_path / "study" / "comparison.json").read_text())
    assert code == 0 and good["top1"] and bad["top1"] is None
    assert "seed 0" in bad["failures"][0] and f"{LARGE} failed" in out
    assert "With one seed" in out


def test_kill_9_in_the_middle_and_again(animals, tmp_path, capsys):
    """The trainings end with the command, and the same command goes on where they were."""
    words = [animals, "--backbones", SMALL, "--seeds", "2", "--rounds", "0", *TINY, "--output", tmp_path / "s"]
    words[words.index("--epochs") + 1] = "3"
    command = Command("compare", *words)
    run = Run(tmp_path / "s" / "runs" / f"{SMALL}-seed0")
    while not run.checkpoint.exists():
        assert command.process.is_alive()
        time.sleep(0.05)
    trainings = psutil.Process(command.process.pid).children()
    command.process.kill()
    psutil.wait_procs(trainings)  # they get a signal
    code, out, _ = answer(capsys, *words)
    assert code == 0 and len(runs(tmp_path / "s")) == 2
    (one,) = json.loads((tmp_path / "s" / "comparison.json").read_text())
    assert len(one["by_seed"]) == 2 and not one["failures"]


def test_several_at_once_write_logs(animals, in_process, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(study_module, "POLL", 0.1)
    words = [animals, "--backbones", SMALL, "--seeds", "1", "--jobs", "2", "--rounds", "0", *TINY]
    code, out, _ = answer(capsys, *words, "--output", tmp_path / "s", "--json")
    assert code == 0 and [one["backbone"] for one in json.loads(out)] == [SMALL]
    assert "Epoch 1/1" in (tmp_path / "s" / "logs" / f"{SMALL}-seed0.txt").read_text()


def test_a_budget_is_the_same_time_for_all(animals, in_process, tmp_path, capsys, monkeypatch):
    """Steps that take twice as long leave half the epochs."""
    from mixtransfer.comparison import budget

    seconds = iter([0.6, 1.2])
    monkeypatch.setattr(budget, "_seconds", lambda step: next(seconds))
    words = [animals, "--backbones", f"{SMALL},{LARGE}", "--seeds", "1", "--rounds", "0", *TINY]
    del words[words.index("--epochs") : words.index("--epochs") + 2]
    code, _, _ = answer(capsys, *words, "--budget-minutes", "0.2", "--output", tmp_path / "s")
    epochs = {name: run.read_config()["epochs"] for name, run in runs(tmp_path / "s").items()}
    assert code == 0 and epochs == {f"{SMALL}-seed0": 4, f"{LARGE}-seed0": 2}


def test_a_budget_counts_the_trainings_on_folds_of_few_images(image_folder, study, tmp_path):
    """Of up to 300 images three trainings on two thirds judge the one on all."""
    from mixtransfer.comparison import budget

    words = {"image_size": 32, "workers": 0, "devices": 1, "batch_size": 8, "epochs": 1}
    weights = str(runs(study)[f"{SMALL}-seed0"].weights)
    options = TrainOptions(str(image_folder), SMALL, weights=weights, **words)
    step, images, once = budget._classification(options)
    dataset = load_dataset(str(image_folder))
    assert images == 3 * (len(dataset.train) + len(dataset.val)) and once == len(dataset.train)
    assert budget._classification(replace(options, weights="none"))[1] == len(dataset.train)
    step()


def test_choosing_a_rate_is_paid_for_in_passes_without_folds(tmp_path, monkeypatch):
    """A minute holds 20 passes of three times 100 images; a sweep of 12 epochs on 90 images takes 3.6 of them."""
    from mixtransfer.comparison import budget

    monkeypatch.setattr(budget, "_measured", lambda *_: {"x": (0.1, 300, 90)})
    training = TrainOptions("d", "x", batch_size=10)
    passes = budget.passes_within(1, "classify", {"x": training}, tmp_path, 1, lambda passes: 12.0)
    assert passes == {"x": 16}


def test_each_backbone_may_have_a_rate_of_its_own(animals, in_process, tmp_path, capsys):
    """Chosen once for all seeds; a second run of the command chooses nothing."""
    words = [animals, "--backbones", SMALL, "--seeds", "2", "--rounds", "0", "--tune-lr", *TINY]
    code, out, _ = answer(capsys, *words, "--output", tmp_path / "s")
    rates = json.loads((tmp_path / "s" / "rates.json").read_text())
    assert code == 0 and out.count("choosing the learning rate") == 1
    entry = rates[SMALL]
    tried = {one["lr"]: one["log_loss"] for one in entry["tried"]}
    assert len(tried) == 3 and max(tried) == pytest.approx(9 * min(tried), rel=0.1) and entry["chosen"] in tried
    assert {run.read_config()["lr"] for run in runs(tmp_path / "s").values()} == {entry["chosen"]}
    assert "choosing" not in answer(capsys, *words, "--output", tmp_path / "s")[1]


@pytest.mark.parametrize(
    ("losses", "best"),
    [
        ({1.0: [0.5] * 9, 3.0: [0.4] * 9}, 3.0),  # better by more than a standard error
        ({1.0: [0.5, 0.9], 3.0: [0.6, 0.7]}, 1.0),  # not so
        ({1.0: [np.inf], 3.0: [2.0]}, 3.0),
    ],
)
def test_the_usual_rate_is_left_for_a_reason_only(losses, best):
    assert best_rate({rate: np.array(values) for rate, values in losses.items()}) == best


def test_a_training_has_one_device(animals, in_process, tmp_path, capsys):
    """Further ones would be started by the command, which is not a training's."""
    (tmp_path / "recipe.yaml").write_text("devices: 2\nnum_nodes: 2\n")
    words = [animals, "--backbones", SMALL, "--seeds", "1", "--rounds", "0", "--recipe", tmp_path / "recipe.yaml"]
    assert answer(capsys, *words, *TINY, "--output", tmp_path / "s")[0] == 0
    config = runs(tmp_path / "s")[f"{SMALL}-seed0"].read_config()
    assert (config["devices"], config["num_nodes"]) == (1, 1)


def test_a_training_killed_before_its_parts_were_written_gets_those_of_the_study(
    image_folder, in_process, tmp_path, capsys
):
    words = [image_folder, "--backbones", f"{SMALL},{LARGE}", "--seeds", "1", "--rounds", "0", *TINY]
    words += ["--output", tmp_path / "study"]
    assert answer(capsys, *words)[0] == 0
    first, second = runs(tmp_path / "study").values()
    for file in second.folder.rglob("*"):
        if file.is_file() and file != second.config:
            file.unlink()
    for name in ("cat", "dog"):
        shutil.copy(image_folder / name / "000.jpg", image_folder / name / "later.jpg")
    assert answer(capsys, *words)[0] == 0
    assert second.split.read_text() == first.split.read_text()


def test_the_same_training_twice_is_refused(study, tmp_path, capsys):
    one, other = (runs(study)[f"{name}-seed0"].folder for name in (SMALL, LARGE))
    shutil.copytree(one, tmp_path / "copy")
    words = ["--rounds", "0", "--output", tmp_path / "both"]
    code, _, err = answer(capsys, one, other, tmp_path / "copy", *words)
    assert code == 2 and "are the same training, of one seed" in err and err.count("\n") == 1
    assert answer(capsys, one, other, one, f"{one}/../{one.name}", *words)[0] == 0
    assert {len(row["runs"]) for row in json.loads((tmp_path / "both" / "comparison.json").read_text())} == {1}


def test_a_recipe_is_what_all_train_with(animals, in_process, tmp_path, capsys):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"augment": "none", "epochs": 1, "optimizer": "sgd"}))
    words = [animals, "--backbones", SMALL, "--seeds", "1", "--rounds", "0", *TINY, "--recipe", recipe]
    assert answer(capsys, *words, "--output", tmp_path / "s")[0] == 0
    config = runs(tmp_path / "s")[f"{SMALL}-seed0"].read_config()
    assert config["augment"] == "none" and config["optimizer"] == "sgd"


def test_latency_and_memory_are_measured(study):
    """In every runtime that is installed."""
    run = runs(study)[f"{SMALL}-seed0"]
    measured = measure_costs({SMALL: run}, "classify", 2, print)[SMALL]
    assert set(measured.latency) == set(measured.throughput) == {name for name in MEASURED if RUNTIMES[name].installed}
    for runtime, duration in measured.latency.items():
        assert 0 < duration.low <= duration.median <= duration.high and measured.throughput[runtime] > 0
    assert measured.file_size == run.weights.stat().st_size and measured.memory > measured.file_size / 2


def test_costs_are_reported_and_limited(study, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(benchmark, "MEASURED", ("pytorch",))
    monkeypatch.setattr(cost, "peak_memory", lambda load, opener: {16: 12345})
    folders = [runs(study)[f"{name}-seed0"].folder for name in (SMALL, LARGE)]
    words = ["--rounds", "2", "--limit", "latency=10s", "--output", tmp_path / "both", "--task", "classify"]
    code, out, _ = answer(capsys, *folders, *words)
    assert code == 0 and "Under 10 s of latency on this machine: " in out and "in PyTorch" in out
    for one in json.loads((tmp_path / "both" / "comparison.json").read_text()):
        duration = one["latency"]["pytorch"]
        assert 0 < duration["low"] <= duration["median"] <= duration["high"] and one["throughput"]["pytorch"] > 0
        assert one["memory"] == 12345


def test_answers_are_those_of_the_metrics(study):
    run = runs(study)[f"{SMALL}-seed0"]
    answers = read_answers(run.test_predictions)
    assert answers.hits.mean() == pytest.approx(run.read_metrics()["test"]["top1"]["value"])
    assert set(answers.classes) == {"cat", "dog", "emu"} and len(set(answers.images)) == 30


def test_the_minutes_of_a_training_are_those_of_its_folds_too(study, tmp_path):
    run = Run(tmp_path / "r")
    shutil.copytree(runs(study)[f"{SMALL}-seed0"].folder, run.folder)
    run.write_metrics(training={"seconds": 300.0})
    assert cost.training_cost(run)["minutes"] == 5.0
    run.write_metrics(training={})  # as detectors have it
    seconds = sum(row["seconds"] or 0 for row in run.read_history())
    assert cost.training_cost(run)["minutes"] == round(seconds / 60, 2)
    run.history.unlink()
    with pytest.raises(UserError, match=r"metrics\.csv is missing"):
        cost.training_cost(run)


def test_a_training_goes_on_with_the_data_where_it_is_now(study, animals, tmp_path, capsys, monkeypatch):
    """Named data may lie elsewhere than when the study began."""
    shutil.copytree(study, tmp_path / "s")
    metrics = tmp_path / "s" / "runs" / f"{SMALL}-seed1" / "metrics.json"
    metrics.unlink()
    asked = []

    def see(_, job, function, task, options, *rest):
        asked.append(options)
        shutil.copy(Run(job.folder.with_name(f"{SMALL}-seed0")).metrics, metrics)

    monkeypatch.setattr(workers.Workers, "_in_process", see)
    words = [animals, "--backbones", f"{SMALL},{LARGE}", "--seeds", "2", "--rounds", "0", *TINY]
    assert answer(capsys, *words, "--data-root", tmp_path / "moved", "--output", tmp_path / "s")[0] == 0
    (options,) = asked
    assert options.resume and options.data_root == str(tmp_path / "moved")
