"""Training on several machines, each of which runs the command and has its own disk."""

import csv
import signal
import socket
import subprocess
import sys
import time

import albumentations as A
import detecting  # noqa: F401  skips without detectron2
import psutil
import pytest
import safetensors.torch
import torch
import yaml
from detect_tiny import tiny
from processes import Command, words_of

from mixtransfer.commandline.cli import main
from mixtransfer.data.detection.square import Square
from mixtransfer.detection.inference import detect
from mixtransfer.detection.machines import _passed_on, devices_of
from mixtransfer.detection.options import TrainOptions
from mixtransfer.detection.train import train
from mixtransfer.errors import UserError
from mixtransfer.runs.run import Run


def free_address() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{found.getsockname()[1]}"


def machine(rank: int, address: str, *words: object) -> Command:
    """One process of one of two machines."""
    where = ("--num-nodes", 2, "--machine-rank", rank, "--dist-url", address, "--devices", 1)
    return Command("detect", "train", *words, *where)


@pytest.mark.skipif(torch.cuda.is_available(), reason="on the CPU")
def test_two_machines_train_as_one_does_also_after_an_interrupt(digits, tmp_path):
    """The second has none of the run's files, neither at the start nor when it goes on."""
    options = tiny(digits, tmp_path / "first", iterations=4, eval_every=2)
    elsewhere = tiny(digits, tmp_path / "second", iterations=4, eval_every=2)
    address = free_address()
    pair = [machine(0, address, *words_of(options)), machine(1, address, *words_of(elsewhere))]
    pair[0].wait_for("Iteration 2/4")
    for one in pair:
        one.process.kill()
    assert [one.end() for one in pair] == [-signal.SIGKILL] * 2
    address = free_address()
    pair = [machine(0, address, "--resume", options.output), machine(1, address, *words_of(elsewhere))]
    assert [one.end() for one in pair] == [0, 0], [one.errors for one in pair]
    assert "test" in Run(tmp_path / "first").read_metrics() and not (tmp_path / "second").exists()
    expected = train(tiny(digits, tmp_path / "whole", iterations=4, eval_every=2, devices=2))
    one, other = (
        safetensors.torch.load_file(path) for path in (tmp_path / "first" / "model.safetensors", expected.weights)
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.skipif(torch.cuda.is_available(), reason="on the CPU")
def test_a_tracker_has_one_run_for_all_processes_and_a_lambda_reaches_them(digits, tmp_path):
    turned = A.Compose([A.Lambda(image=lambda image, **_: 255 - image, p=1.0)])
    run = train(tiny(digits, tmp_path / "r", devices=2, logger="csv,tensorboard"), augment=turned)
    (folder,) = (run.folder / "csv").iterdir()
    assert yaml.safe_load((folder / "hparams.yaml").read_text())["iterations"] == 6
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [3, 6, 6]
    assert [float(row["loss"]) for row in rows[:2]] == pytest.approx([row["loss"] for row in run.read_history()], 1e-4)
    assert float(rows[2]["test_AP"]) == pytest.approx(run.read_metrics()["test"]["AP"], abs=1e-6)


class Refusing:
    def log_metrics(self, values, step):
        raise ConnectionError("gone")


def test_a_tracker_that_is_away_does_not_end_other_processes(capsys):
    heard = []
    kept = type("Kept", (), {"log_metrics": lambda self, values, step: heard.append((values, step))})()
    with _passed_on([Refusing(), kept]) as far:
        far.log_metrics({"loss": 1.0}, 3)
        far.log_metrics({"loss": 0.5}, 6)
    assert heard == [({"loss": 1.0}, 3), ({"loss": 0.5}, 6)]
    said = "".join(capsys.readouterr())
    assert said.count("Refusing did not take a row (ConnectionError: gone)") == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--dist-url", "tcp://x:1"], "--num-nodes 2 needs --output, the same on all machines"),
        (["--output", "r"], "--num-nodes 2 needs --dist-url tcp://HOST:PORT"),
        (["--output", "r", "--dist-url", "tcp://x:1", "--machine-rank", "2"], "of 2 machines they count from 0"),
    ],
)
def test_what_several_machines_need_is_said_at_the_start(words, says, capsys):
    assert main(["detect", "train", "x", "--num-nodes", "2", *words]) == 2
    assert says in capsys.readouterr().err


def test_a_machine_that_does_not_have_the_run(capsys, tmp_path):
    words = ["--resume", str(tmp_path / "gone"), "--num-nodes", "2", "--machine-rank", "1", "--dist-url", "tcp://x:1"]
    assert main(["detect", "train", *words]) == 2
    assert "with --output and without --resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("batch", "nodes", "devices"), [(16, 1, 2), (64, 1, 8), (8, 1, 1), (192, 1, 8), (24, 1, 3), (128, 2, 8)]
)
def test_gpus_are_taken_as_far_as_their_batch_norms_see_enough_images(monkeypatch, batch, nodes, devices, capsys):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    assert devices_of(TrainOptions(batch_size=batch, num_nodes=nodes)) == devices
    assert ("of 8 GPUs" in capsys.readouterr().out) == (devices < 8)
    assert devices_of(TrainOptions(batch_size=batch, devices=4)) == 4


def test_a_process_without_images_finds_nothing():
    """Of one image to validate on, the second of two processes gets none."""
    assert detect(torch.nn.Identity(), [object()], Square(64, "warp"), rank=1, world=2) == []


def test_devices_that_cannot_share_a_batch_are_refused():
    with pytest.raises(UserError, match="6 devices cannot share a batch of 8 images: take a multiple of 6"):
        devices_of(TrainOptions(batch_size=8, devices=3, num_nodes=2))


def test_the_processes_end_with_a_command_that_is_killed(digits, tmp_path):
    """They would write into a run that another command has resumed.

    As in the background of a shell's script: SIGINT, which torch would send them, is ignored, and what they say goes to
    a file, which stays open.
    """
    words = words_of(tiny(digits, tmp_path / "r", devices=2, iterations=50_000))
    with (tmp_path / "said").open("w") as said:
        begin = [sys.executable, "-m", "mixtransfer", "detect", "train", *words]
        command = subprocess.Popen(begin, stdout=said, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    while "Iteration 3/" not in (tmp_path / "said").read_text():
        assert command.poll() is None
        time.sleep(0.1)
    others = psutil.Process(command.pid).children(recursive=True)
    command.kill()
    command.wait()
    assert len(others) > 1
    _, alive = psutil.wait_procs(others, timeout=20)
    for one in alive:
        one.kill()
    assert not alive, alive


SCRIPT = """
import mixtransfer as mt
from mixtransfer.detection.compat import prepare_detectron2

prepare_detectron2()
from detectron2.engine import HookBase

class Noted(HookBase):  # of the script, so it goes to the other process by value
    def after_train(self):
        print("STEPS", self.trainer.iter, flush=True)

run = mt.detect.train({data!r}, output={output!r}, devices=2, hooks=Noted(), augment=lambda given: given, **{options!r})
print("AP" in run.read_metrics()["test"])
"""


@pytest.mark.skipif(torch.cuda.is_available(), reason="on the CPU")
def test_a_script_without_a_guard_trains_once(digits, tmp_path):
    """The other process does not run the script again, whose hooks and lambdas it has all the same."""
    options = {
        "backbone": "mobilenetv3_small_050", "weights": "none", "image_size": 64, "batch_size": 4, "iterations": 2,
        "workers": 0,
    }  # fmt: skip
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(data=str(digits), output=str(tmp_path / "r"), options=options))
    found = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=600)
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("STEPS") == 2 and found.stdout.splitlines()[-1] == "True"
