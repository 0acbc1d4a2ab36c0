"""What a run survives: signals, a full disk, a second process, data that goes away.

tools/kill_and_resume.py does it at random moments, many times.
"""

import csv
import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from folders import make_folder
from processes import Command, words_of
from tiny import tiny

from mixtransfer.classification.options import TrainOptions
from mixtransfer.classification.train import train
from mixtransfer.commandline import cli
from mixtransfer.common.files import claimed, write_atomic
from mixtransfer.common.signals import interruptible, sigterm_as_ctrl_c
from mixtransfer.errors import Interrupted, UserError
from mixtransfer.runs.run import Run


@pytest.fixture(scope="module")
def animals(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("faults") / "animals"
    make_folder(root / "train", dict.fromkeys(("cat", "dog", "emu"), 8))
    make_folder(root / "test", dict.fromkeys(("cat", "dog", "emu"), 4), seed=1)
    return root


@pytest.fixture(scope="module")
def options(animals, tmp_path_factory) -> dict:
    """Of a fine-tuning, which has everything that a training can have."""
    start = train(tiny(animals, tmp_path_factory.mktemp("start") / "run", epochs=1))
    return {"weights": str(start.weights)}


@pytest.fixture(scope="module")
def undisturbed(animals, options, tmp_path_factory) -> Run:
    return train(tiny(animals, tmp_path_factory.mktemp("undisturbed") / "run", **options))


def resumed(run: Path) -> Run:
    return train(TrainOptions(resume=str(run), workers=0))


def losses(run: Run) -> list[tuple[str, str]]:
    with (run.folder / "metrics.csv").open() as file:
        return [(row["train_loss"], row["val_top1"]) for row in csv.DictReader(file)]


def assert_same(run: Run, other: Run) -> None:
    for part in ("validation", "test"):
        assert run.read_metrics()[part] == other.read_metrics()[part]
    assert run.test_predictions.read_bytes() == other.test_predictions.read_bytes()
    assert losses(run) == losses(other)
    assert {path.name for path in run.folder.iterdir()} == {path.name for path in other.folder.iterdir()}


WAIT = """
import subprocess, sys
import mixtransfer.commandline.listing
from mixtransfer.commandline.cli import main

def wait_for_a_child(_):
    sleep = "import time; print(flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", sleep], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    child.stdout.read(1)
    try:
        print("ready", flush=True)
        child.wait()
    except KeyboardInterrupt:
        print(child.wait(), flush=True)
        raise

mixtransfer.commandline.listing.models = wait_for_a_child
sys.exit(main(["models"]))
"""


def test_sigterm_is_ctrl_c_for_the_command_and_its_processes():
    process = subprocess.Popen([sys.executable, "-c", WAIT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    out, err = process.communicate()
    assert process.returncode == 143 and int(out) == -signal.SIGINT and err == "\nInterrupted.\n"


@pytest.mark.parametrize(("how", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_to_the_whole_group_is_one_sentence(how, code, animals, options, undisturbed, tmp_path):
    """As `timeout`, systemd and SLURM send it: the data-loading processes get it too, and first."""
    run = tmp_path / "run"
    training = tiny(animals, run, workers=2, **options)
    command = Command("classify", "train", *words_of(training), before=os.setsid)
    command.wait_for("Epoch 1/3")
    os.killpg(command.process.pid, how)
    assert command.end() == code
    assert command.errors.splitlines()[-1] == f"Interrupted. Go on with: mixtransfer classify train --resume {run}"
    assert "Traceback" not in command.errors
    assert_same(resumed(run), undisturbed)


def raise_as_torch_does(*_):
    raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated. ")


def test_after_sigterm_the_end_of_loading_processes_is_no_error():
    with sigterm_as_ctrl_c():
        before = signal.signal(signal.SIGCHLD, raise_as_torch_does)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGCHLD)
    assert signal.getsignal(signal.SIGCHLD) == before


def test_a_loading_process_that_ends_at_the_very_time_of_the_signal(monkeypatch):
    """Both are waiting when Python looks for signals; it complains of handlers that have gone by then."""
    complaints: list = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    both = {signal.SIGTERM, signal.SIGCHLD}
    with sigterm_as_ctrl_c(), pytest.raises(KeyboardInterrupt):
        signal.signal(signal.SIGCHLD, raise_as_torch_does)
        signal.pthread_sigmask(signal.SIG_BLOCK, both)
        for number in both:
            signal.pthread_kill(threading.get_ident(), number)  # to this thread, where they wait for each other
        signal.pthread_sigmask(signal.SIG_UNBLOCK, both)
    assert not complaints


def test_loading_processes_that_end_before_the_signal_comes_here():
    with sigterm_as_ctrl_c(), pytest.raises(Interrupted, match=r"^Interrupted\. Go on\.$"):
        later = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM))
        with interruptible(lambda: "Go on."):
            later.start()
            raise_as_torch_does()


def test_signals_that_come_together_are_one_interrupt():
    """The parent passes SIGTERM on as SIGINT, to processes that may have got it themselves."""
    with sigterm_as_ctrl_c() as received:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert received == [signal.SIGINT, signal.SIGTERM]


def test_whoever_goes_on_asking_is_heard_again(monkeypatch):
    """An interrupt can be lost where Python cannot raise: after a second the next one counts, however many came."""
    now = 0.0
    monkeypatch.setattr("mixtransfer.common.signals.time.monotonic", lambda: now)
    heard = []
    with sigterm_as_ctrl_c():
        for now in (10.0, 10.6, 11.2, 11.8):
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except KeyboardInterrupt:
                heard.append(now)
    assert heard == [10.0, 11.2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "DataLoader worker (pid 7) is killed by signal: Killed. ",
            r"\(Killed\), probably for want of memory.* Go on\.$",
        ),
        ("DataLoader worker (pid 7) is killed by signal: Aborted. ", r"\(Aborted\)\. Go on\.$"),
        ("DataLoader worker (pid(s) 7) exited unexpectedly", r"outside\. Go on\.$"),
    ],
)
def test_a_loading_process_that_is_killed_alone_is_a_sentence(text, words):
    with pytest.raises(UserError, match=words), interruptible(lambda: "Go on."):
        raise RuntimeError(text)


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shapes"), interruptible(lambda: "Go on."):
        raise RuntimeError("shapes do not match")


def test_an_interrupted_choice_of_the_weights_is_made_again(animals, options, undisturbed, tmp_path, monkeypatch):
    """The final weights are there already, the scores are not."""

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mixtransfer.classification.results.write_report", interrupt)
        with pytest.raises(Interrupted, match=f"--resume {tmp_path / 'run'}"):
            train(tiny(animals, tmp_path / "run", **options))
    assert "test" not in Run(tmp_path / "run").read_metrics()
    assert_same(resumed(tmp_path / "run"), undisturbed)


def test_data_that_goes_away_while_training(animals, options, undisturbed, tmp_path):
    """One sentence; with the data back, the run goes on to the same result."""
    data = tmp_path / "animals"
    shutil.copytree(animals, data)

    def unplug(sentence: str) -> None:
        if sentence.startswith("Epoch 2/3"):
            data.rename(tmp_path / "elsewhere")

    with pytest.raises(UserError, match="there is no such file") as caught:
        train(tiny(data, tmp_path / "run", **options), say=unplug)
    assert str(data) in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(UserError, match="is not at .* any more: put it back"):
        resumed(tmp_path / "run")
    (tmp_path / "elsewhere").rename(data)
    assert_same(resumed(tmp_path / "run"), undisturbed)


HOLD = """
import sys, time
from pathlib import Path
from mixtransfer.common.files import claimed
with claimed(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_training_in_the_same_folder_is_refused_until_the_first_ends(tmp_path):
    folder = tmp_path / "run"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(UserError, match="is being written by another process"), claimed(folder):
        pass
    holder.kill()
    holder.wait()
    assert (folder / ".lock").exists()
    with claimed(folder):  # what a killed process left holds nobody up
        Run.create(folder, TrainOptions())
    assert [path.name for path in folder.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize("task", ["classify", "detect"])
def test_training_claims_its_folder(task, animals, tmp_path, capsys):
    if task == "detect":
        pytest.importorskip("detectron2", reason="detectron2 is not installed: mixtransfer install-detectron2")
        from mixtransfer.detection.options import TrainOptions as Options
    else:
        Options = TrainOptions
    run = Run.create(tmp_path / "run", Options(data=str(animals)))
    with claimed(run.folder):
        assert cli.main([task, "train", "--resume", str(run.folder)]) == 2
    err = capsys.readouterr().err
    assert "run is being written by another process: wait for it" in err and err.count("\n") == 1


def failing(number: int):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(("function", "number"), [("os.fsync", errno.ENOSPC), ("tempfile.mkstemp", errno.EROFS)])
def test_a_disk_that_takes_no_more_is_named_with_the_file(function, number, tmp_path, monkeypatch):
    path = tmp_path / "metrics.json"
    write_atomic(path, "old")
    with monkeypatch.context() as patch:
        patch.setattr({"os": os, "tempfile": tempfile}[function.split(".")[0]], function.split(".")[1], failing(number))
        with pytest.raises(OSError, match=os.strerror(number)) as caught:
            write_atomic(path, "new")
    assert caught.value.filename == str(path)
    assert path.read_text() == "old" and [entry.name for entry in tmp_path.iterdir()] == ["metrics.json"]


def test_a_full_disk_at_the_end_is_one_sentence_and_the_run_goes_on(
    animals, options, undisturbed, tmp_path, monkeypatch, capsys
):
    """The page is the first file that does not fit."""
    fsync = os.fsync

    def fill(handle: int) -> None:
        if "report.html" in Path(f"/proc/self/fd/{handle}").readlink().name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc")
    given = {**asdict(tiny(animals, tmp_path / "run", **options)), "data": None}
    words = [f"--{key.replace('_', '-')}={value}" for key, value in given.items() if value is not None]
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fill)
        assert cli.main(["classify", "train", str(animals), *words]) == 2
    err = capsys.readouterr().err
    assert err.splitlines()[-1] == f"error: No space left on device: {tmp_path / 'run' / 'report.html'}."
    assert_same(resumed(tmp_path / "run"), undisturbed)


def test_an_output_that_cannot_be_written_is_named_before_training(animals, capsys):
    if not Path("/proc").is_dir():
        pytest.skip("needs a folder that not even root can write")
    assert cli.main(["classify", "train", str(animals), "--weights", "none", "--output", "/proc/mixtransfer/run"]) == 2
    assert "The output folder /proc/mixtransfer/run cannot be written" in capsys.readouterr().err


def test_a_killed_first_write_does_not_spoil_the_folder(tmp_path):
    (tmp_path / ".config.yaml.x1y2z3.tmp").write_text("half")
    (tmp_path / ".lock").touch()
    run = Run.create(tmp_path, TrainOptions())
    assert run.read_config()["epochs"] is None and not list(tmp_path.glob("*.tmp"))
    (tmp_path / "other" / "notes").mkdir(parents=True)
    with pytest.raises(UserError, match="exists and is not empty"):
        Run.create(tmp_path / "other", TrainOptions())


def test_a_fork_ends_quietly_by_sigterm():
    """A pool of processes ends its members so when it is done with them."""
    begun, begins = os.pipe()
    with sigterm_as_ctrl_c() as received:
        if not (child := os.fork()):
            os.write(begins, b".")
            time.sleep(20)
            os._exit(0)
        os.read(begun, 1)
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGTERM and not received
