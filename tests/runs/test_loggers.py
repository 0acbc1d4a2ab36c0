"""Experiment trackers: what `--logger` names gets settings, metrics of every epoch, scores and figures."""

import csv
from contextlib import ExitStack
from dataclasses import replace

import pytest
import yaml
from folders import make_folder
from tiny import TINY, tiny

import mixtransfer as mt
from mixtransfer.classification.train import train
from mixtransfer.errors import UserError
from mixtransfer.runs.loggers import TRACKERS, log_results, logger_names, open_loggers


def test_several_trackers_get_all_of_a_classifiers_training(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    data = make_folder(tmp_path / "d", {"cat": 12, "dog": 12})
    run = train(tiny(data, tmp_path / "r", logger="tensorboard,csv"))
    events = accumulator.EventAccumulator(str(run.folder / "tensorboard"), {"images": 0, "scalars": 0}).Reload()
    assert {"learning_curves", "confusion_matrix", "calibration"} <= set(events.Tags()["images"])
    logged = {name: [event.value for event in events.Scalars(name)] for name in events.Tags()["scalars"]}
    with (run.folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name in ("train_loss", "val_loss", "val_top1"):
        assert logged[name] == pytest.approx([float(row[name]) for row in rows], rel=1e-4, abs=1e-6)
    assert logged["test_top1"][-1] == pytest.approx(run.read_metrics()["test"]["top1"]["value"])
    settings = yaml.safe_load(next((run.folder / "csv").rglob("hparams.yaml")).read_text())
    assert settings["backbone"] == TINY["backbone"] and settings["recipe"]["lr"] == 5e-4
    with next((run.folder / "csv").rglob("metrics.csv")).open() as file:
        assert sum(bool(row["val_loss"]) for row in csv.DictReader(file)) == 3


def test_a_detectors_training_is_logged(tmp_path):
    pytest.importorskip("detectron2", reason="detectron2 is not installed: mixtransfer install-detectron2")
    from detect_tiny import tiny as tiny_detector

    from mixtransfer.data.detection.demo import write_digits_on_photos
    from mixtransfer.detection.train import train as train_detector

    data = write_digits_on_photos(tmp_path / "d", 12, 4)
    run = train_detector(tiny_detector(data, tmp_path / "r", logger="csv"))
    rows = run.read_history()
    with next((run.folder / "csv").rglob("metrics.csv")).open() as file:
        logged = [row for row in csv.DictReader(file) if row.get("loss")]
    assert [float(row["loss"]) for row in logged] == pytest.approx([row["loss"] for row in rows], rel=1e-4)
    assert [int(row["step"]) for row in logged] == [row["iteration"] for row in rows]
    with next((run.folder / "csv").rglob("metrics.csv")).open() as file:
        tested = [row["test_AP"] for row in csv.DictReader(file) if row.get("test_AP")]
    assert [float(value) for value in tested] == pytest.approx([run.read_metrics()["test"]["AP"]], abs=1e-6)


def test_names_are_checked_before_anything_is_read():
    assert logger_names("csv, tensorboard") == ["csv", "tensorboard"] and logger_names(None) == []
    for names, says in (
        ("clearml", "not one of tensorboard, csv, wandb, mlflow, comet"),
        ("csv,csv", "names csv twice"),
    ):
        with pytest.raises(UserError, match=says):
            logger_names(names)
    with pytest.raises(UserError, match="--logger 'clearml'"):
        mt.train("nowhere", logger="clearml")


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr("mixtransfer.runs.loggers.find_spec", lambda name: None)
    for name, package in (("wandb", "wandb"), ("mlflow", "mlflow"), ("comet", "comet_ml")):
        with pytest.raises(UserError, match=f"--logger {name} needs .*pip install {package}"):
            logger_names(name)


def test_a_service_that_refuses_is_one_sentence(monkeypatch, tmp_path):
    def refuse(folder):
        raise ConnectionError("no route\nto host")

    monkeypatch.setitem(TRACKERS, "wandb", TRACKERS["csv"].__class__((), refuse))
    with pytest.raises(UserError, match=r"--logger wandb cannot be used \(ConnectionError: no route\)"):
        open_loggers("wandb", tmp_path, ExitStack())


@pytest.mark.parametrize(("name", "package"), [("mlflow", "mlflow"), ("wandb", "wandb"), ("comet", "comet_ml")])
def test_a_service_takes_a_training_without_a_network(name, package, monkeypatch, tmp_path):
    pytest.importorskip(package, reason=f"{package} is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("COMET_START_ONLINE", "0")
    monkeypatch.setenv("COMET_OFFLINE_DIRECTORY", str(tmp_path / "comet"))
    with ExitStack() as until:
        (logger,) = open_loggers(name, tmp_path / "run", until)
        logger.log_hyperparams({"lr": 1e-3})
        log_results([logger], {"top1": 0.5}, tmp_path, 3)
        assert logger.version


def test_what_a_tracker_begins_is_ended_with_the_training_and_not_before(monkeypatch, tmp_path):
    ended = []
    monkeypatch.setitem(TRACKERS, "wandb", replace(TRACKERS["csv"], close=ended.append))
    with ExitStack() as until:
        (logger,) = open_loggers("wandb", tmp_path, until)
        assert not ended
    assert ended == [logger]


def test_a_service_that_is_away_in_the_end_costs_no_results(tmp_path, capsys):
    from lightning.pytorch.loggers import CSVLogger

    class Away(CSVLogger):
        def log_metrics(self, metrics, step=None):
            if "test_top1" in metrics:
                raise ConnectionError("gone")

    data = make_folder(tmp_path / "d", {"cat": 12, "dog": 12})
    run = train(tiny(data, tmp_path / "r", epochs=1), loggers=[Away(tmp_path / "logs")])
    assert run.read_metrics()["test"] and not run.tuned.exists()
    assert "Away did not take the results (ConnectionError: gone)" in capsys.readouterr().out


def test_a_folder_of_the_name_of_a_recipe_is_no_configuration(tmp_path, monkeypatch, capsys):
    from mixtransfer.commandline.cli import main

    (tmp_path / "pets").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["classify", "train", "--config", "pets", "--print-config"])
    assert stop.value.code == 0 and "label_smoothing: 0.1" in capsys.readouterr().out
