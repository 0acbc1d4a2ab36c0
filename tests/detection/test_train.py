"""Training a detector from options to a Run: what it writes, that it repeats, resumes, and starts from others."""

import csv
import json
import signal

import detecting  # noqa: F401  skips without detectron2
import pytest
import safetensors.torch
import torch
from coco_sets import make_coco
from detect_tiny import tiny
from processes import Command, words_of

from mixtransfer.cli import main
from mixtransfer.detection.model import open_detector
from mixtransfer.detection.options import TrainOptions
from mixtransfer.detection.train import train
from mixtransfer.errors import UserError


def test_run_holds_all_that_later_commands_need(finished):
    names = {path.name for path in finished.folder.iterdir()}
    assert names >= {
        "config.yaml", "model.safetensors", "model.json", "last.ckpt", "metrics.csv", "metrics.json", "report.html",
        "test_detections.json",
        "figures",
    }  # fmt: skip
    metrics = json.loads(finished.metrics.read_text())
    for part in ("validation", "test"):
        assert {"AP", "AP50", "AP75"} <= metrics[part].keys() and 0 <= metrics[part]["AP"] <= 100
    with (finished.folder / "metrics.csv").open() as file:
        assert [row["iteration"] for row in csv.DictReader(file)] == ["3", "6"]
    assert None not in (finished.read_config()["lr"], finished.read_config()["eval_every"])
    assert open_detector(finished.folder).classes == [str(i) for i in range(10)]


def test_same_seed_same_weights_whatever_the_workers(digits, finished, tmp_path):
    again = train(tiny(digits, tmp_path / "again", workers=2))
    same, first = (safetensors.torch.load_file(run.weights) for run in (again, finished))
    assert all(torch.equal(same[name], first[name]) for name in first)


def test_killed_training_resumes_to_the_same_weights(digits, finished, tmp_path):
    options = tiny(digits, tmp_path / "r")
    command = Command("detect", "train", *words_of(options))
    command.wait_for("Iteration 3/6")
    command.process.kill()
    assert command.end() == -signal.SIGKILL
    assert main(["detect", "train", "--resume", options.output]) == 0
    same, first = (
        safetensors.torch.load_file(path) for path in (tmp_path / "r" / "model.safetensors", finished.weights)
    )
    assert all(torch.equal(same[name], first[name]) for name in first)


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "focal", "optimizer": "sgd", "ema": False, "clip_grad": 0.0},
        {"batch_size": 1, "augment": "standard", "tap": "stage"},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_options_work_together(digits, tmp_path, changes):
    run = train(tiny(digits, tmp_path / "r", **{"iterations": 2, "eval_every": 2, **changes}))
    assert "test" in run.read_metrics()


def test_another_runs_detector_is_a_start_and_its_class_head_is_new(finished, tmp_path, capsys):
    data = make_coco(tmp_path / "pets", train=12)
    run = train(tiny(data, tmp_path / "r", weights=str(finished.folder), iterations=1, lr=0.0, warmup=0, ema=False))
    assert "its class head is made anew" in capsys.readouterr().out
    before, after = safetensors.torch.load_file(finished.weights), safetensors.torch.load_file(run.weights)
    for name, value in after.items():
        if "running" not in name and "num_batches" not in name:
            assert name.startswith("head.classes.") or torch.equal(before[name], value), name
    assert open_detector(run.folder).classes == ["cat", "dog"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"iterations": 0}, "--iterations is 0"),
        ({"image_size": 8}, "--image-size is 8"),
        ({"backbone": "mixnet_z"}, "mixnet_s"),
        ({"devices": 2}, "GPUs"),
    ],
)
def test_unusable_options(digits, tmp_path, changes, says):
    if "devices" in changes and torch.cuda.is_available():
        pytest.skip("this machine has GPUs")
    with pytest.raises(UserError, match=says):
        train(tiny(digits, tmp_path / "r", **changes))


def test_weights_of_another_detector(digits, finished, tmp_path):
    with pytest.raises(UserError, match="another backbone"):
        train(tiny(digits, tmp_path / "r", backbone="mobilenetv2_035", weights=str(finished.folder)))


def test_data_is_asked_for():
    with pytest.raises(UserError, match="Say what to train on"):
        train(TrainOptions())
