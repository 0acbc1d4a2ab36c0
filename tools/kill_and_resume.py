"""Kill commands at random moments, run them again, and compare with what they do undisturbed.

    python tools/kill_and_resume.py --kills 50

Each command works on a tiny set that is made here. SIGKILL and SIGTERM go to the command, SIGINT (Ctrl-C) to it and all
its processes, as from a terminal. With --group there are two data-loading processes, and SIGTERM and SIGINT go to the
whole group, as from `timeout`, systemd and SLURM. After every kill

- no process is left over, and the answer to SIGTERM and SIGINT is the exit code 143 and 130,
- every file parses, and no file of the data has changed,
- what was finished is still there;

and after at most three kills in a row the command is run to its end: its result is that of the undisturbed run, bit for
bit. The commands run in forks of this process, so that what is killed is their work and not the import of torch; one
kill in five is of a new Python all the same.
"""

import argparse
import contextlib
import csv
import hashlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import psutil
import torch
import yaml
from PIL import Image
from safetensors import safe_open

from mixtransfer.commandline.cli import VERBS
from mixtransfer.commandline.cli import main as run_command
from mixtransfer.data.detection.demo import write_digits_on_photos

PATIENCE = 60  # seconds for a command to end after a signal
# The second code is that of a Python which has not come to the command yet.
CODES = {
    signal.SIGKILL: (-signal.SIGKILL,),
    signal.SIGTERM: (143, -signal.SIGTERM),
    signal.SIGINT: (130, -signal.SIGINT),
}
FRESH = 0.2  # share of the kills that are of a new Python, its imports included


@dataclass(frozen=True)
class Trial:
    """A command to kill; {images}, {boxes}, {run} and {out} stand for folders, {workers} for a number.

    Attributes:
        verb: A key of ``VERBS``; the trial is left out while the command line has no such verb.
        words: What follows it.
        result: What has to be equal in the end, read from the output folder.
        again: What follows the verb once the output folder holds a run; by default the same.
        codes: Exit codes of a command that has ended well.
    """

    verb: str
    words: str
    result: Callable[[Path], object]
    again: str | None = None
    codes: tuple[int, ...] = (0,)

    def command(self, output: Path, places: dict[str, Path], workers: int = 0) -> list[str]:
        goes_on = self.again and (output / "config.yaml").exists()
        text = f"{self.verb} {self.again if goes_on else self.words}"
        return text.format(**places, out=output, workers=workers).split()


def trained(output: Path) -> object:
    metrics = json.loads((output / "metrics.json").read_text())
    answers = [digest(path) for path in output.glob("test_*.*")]
    return {part: metrics[part] for part in ("validation", "test")}, answers


def compared(output: Path) -> object:
    rows = json.loads((output / "comparison.json").read_text())
    return [{key: row[key] for key in ("backbone", "top1", "by_seed", "test_images", "failures")} for row in rows]


def searched(output: Path) -> object:
    found = json.loads((output / "search.json").read_text())
    return found["networks_scored"], found["validation_images"]


def tuned(output: Path) -> object:
    found = json.loads((output / "tune.json").read_text())
    return found["tried"], found["default"]


def examined(output: Path) -> object:
    return json.loads((output / "doctor.json").read_text())


def exported(output: Path) -> object:
    return digest(output / "model.onnx")


SMALL = "--image-size 32 --batch-size 8 --workers {workers}"
SCRATCH = "{images} --backbone mobilenetv3_small_050 --weights none --epochs 1 " + SMALL + " --output {out}"
TRIALS = [
    Trial(
        "classify train",
        "{images} --backbone mobilenetv3_small_050 --weights {run}/model.safetensors --epochs 4 "
        + SMALL
        + " --output {out}",
        trained,
        "--resume {out}",
    ),
    Trial(
        "detect train",
        "{boxes} --backbone mobilenetv3_small_050 --weights none --image-size 96 --batch-size 4 --workers {workers} "
        "--iterations 8 --eval-every 2 --output {out}",
        trained,
        "--resume {out}",
    ),
    Trial(
        "compare",
        "{images} --backbones mobilenetv3_small_050,mobilenetv3_small_075 --seeds 1 --rounds 0 --weights none "
        f"--epochs 2 {SMALL} --output {{out}}",
        compared,
    ),
    Trial(
        "search",
        "{images} " + SMALL + " --epochs 3 --trials 6 --population 3 --output {out}",
        searched,
    ),
    Trial("tune", SCRATCH + " --folds 2 --trials 3", tuned),
    Trial("doctor", "{images} --output {out} --fix-list {out}/drop.csv", examined, codes=(0, 1)),
    Trial("export", "{run} --check 4 --output {out}/model.onnx", exported),
]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def prepare(folder: Path) -> dict[str, Path]:
    """Make the data, and a run to start from."""
    generator = np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 6)):
        for number, name in enumerate(("cat", "dog", "emu")):
            place = folder / "images" / part / name
            place.mkdir(parents=True)
            for i in range(count):
                pixels = generator.normal(60 * (number + 1), 30, (48, 48, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(place / f"{i}.png")
    write_digits_on_photos(folder / "boxes", 16, 6)
    places = {"images": folder / "images", "boxes": folder / "boxes", "run": folder / "run"}
    run_to_end(Trial("classify train", SCRATCH, trained).command(folder / "run", places), folder)
    return places


def start(words: list[str], log: Path, fresh: bool) -> int:
    """Begin a command in a session of its own; its process id."""
    sys.stdout.flush()
    with log.open("a") as file:
        if fresh:
            command = [sys.executable, "-m", "mixtransfer", *words]
            return subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True).pid
        if pid := os.fork():
            while os.getsid(pid) != pid:
                time.sleep(0.001)
            return pid
        os.setsid()
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    code = 1
    try:
        code = run_command(words)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def ended(pid: int, seconds: float) -> int | None:
    """The exit code, or None if the process runs on after so many seconds; a signal is negative."""
    until = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= until:
            return None
        time.sleep(0.01)


def left_over(session: int) -> list[psutil.Process]:
    """Processes of an ended command's session."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def run_to_end(words: list[str], folder: Path, codes: tuple[int, ...] = (0,)) -> float:
    """Run a command undisturbed; the seconds it took."""
    began = time.monotonic()
    log = folder / "log.txt"
    code = ended(start(words, log, fresh=False), 600)
    if code not in codes:
        sys.exit(f"{' '.join(words)} ended with {code}:\n{log.read_text()[-2000:]}")
    return time.monotonic() - began


def kill(
    words: list[str], codes: tuple[int, ...], how: int, delay: float, fresh: bool, group: bool, folder: Path
) -> tuple[str | None, bool]:
    """Kill a command, or its whole group, after a delay.

    Returns:
        What is wrong with its end, and whether it was over before.
    """
    log = folder / "log.txt"
    offset = log.stat().st_size if log.exists() else 0
    pid = start(words, log, fresh)
    code = ended(pid, delay)
    if code is not None:
        return (None if code in codes else f"it ended with {code} by itself"), True
    for _ in range(2):  # a signal may arrive where Python cannot raise, as a second Ctrl-C shows
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group or how == signal.SIGINT else os.kill)(pid, how)
        code = ended(pid, PATIENCE)
        if code is not None:
            break
    else:
        os.killpg(pid, signal.SIGKILL)
        ended(pid, PATIENCE)
        return "it does not end", False
    until = time.monotonic() + PATIENCE
    while left := left_over(pid):
        if time.monotonic() > until:
            os.killpg(pid, signal.SIGKILL)
            return f"{left[0]} is left over", False
        time.sleep(0.05)
    said = log.read_text()[offset:]
    if code in codes:
        return None, True  # it was just ending
    if code not in CODES[signal.Signals(how)]:
        return f"it ended with {code}: {said[-500:]}", False
    if "Traceback" in said and not fresh:  # the import of Python's own parts has no handler yet
        return f"it shows a traceback: {said[-1500:]}", False
    return None, False


def unreadable(folder: Path) -> str | None:
    """The first file that is not whole."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.match(".*.tmp") and (parse := PARSERS.get(path.suffix)):
            try:
                parse(path)
            except Exception as error:
                return f"{path} is not whole ({type(error).__name__}: {error})"
    return None


def _csv(path: Path) -> None:
    text = path.read_text()
    rows = list(csv.reader(text.splitlines(), strict=True))
    assert text.endswith("\n") and len({len(row) for row in rows}) == 1


def _yaml(path: Path) -> None:
    assert yaml.safe_load(path.read_text()) is not None


def _html(path: Path) -> None:
    text = path.read_text()
    HTMLParser().feed(text)
    assert text.rstrip().endswith("</html>")


def _safetensors(path: Path) -> None:
    with safe_open(path, "pt") as file:
        for key in file.keys():  # noqa: SIM118 (it is no dict)
            file.get_tensor(key)


def _onnx(path: Path) -> None:
    import onnx

    onnx.checker.check_model(str(path))


def _sqlite(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as base:
        assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)


PARSERS: dict[str, Callable[[Path], object]] = {
    ".json": lambda path: json.loads(path.read_text()),
    ".yaml": _yaml,
    ".csv": _csv,
    ".html": _html,
    ".safetensors": _safetensors,
    ".ckpt": lambda path: torch.load(path, weights_only=True),
    ".png": lambda path: Image.open(path).load(),
    ".jpg": lambda path: Image.open(path).load(),
    ".onnx": _onnx,
    ".xml": ElementTree.parse,
    ".sqlite": _sqlite,
    ".sqlite3": _sqlite,
}


def finished_work(output: Path) -> dict[str, str]:
    """What a kill must not take: the runs whose test scores are there, by their weights."""
    return {
        str(path.parent): digest(path.parent / "model.safetensors")
        for path in output.rglob("metrics.json")
        if "test" in json.loads(path.read_text())
    }


def contents(folder: Path) -> str:
    """A digest of the names and contents of all files."""
    return hashlib.sha256(
        b"".join(str(path).encode() + path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
    ).hexdigest()


def survive(trial: Trial, kills: int, places: dict[str, Path], group: bool, folder: Path, chance: random.Random) -> int:
    """Kill a command so many times; how many of them it survived."""
    workers = 2 if group else 0
    hows = (signal.SIGTERM, signal.SIGINT) if group else (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
    folder.mkdir()
    seconds = run_to_end(trial.command(folder / "undisturbed", places, workers), folder, trial.codes)
    expected = trial.result(folder / "undisturbed")
    data = {place: contents(place) for place in places.values()}
    print(f"{trial.verb}: {seconds:.1f} s undisturbed.", flush=True)
    survived = done = in_a_row = attempt = 0
    while done < kills:
        output = folder / str(attempt)
        how = chance.choice(hows)
        fresh, delay = chance.random() < FRESH, chance.uniform(0, seconds)
        finished = finished_work(output)
        words = trial.command(output, places, workers)
        problem, over = kill(words, trial.codes, how, delay, fresh, group, folder)
        problem = problem or unreadable(output)
        if not problem and finished.items() - finished_work(output).items():
            problem = "finished work is lost"
        if not problem and any(contents(place) != before for place, before in data.items()):
            problem = "the data has changed"
        if not over or problem:
            done, in_a_row = done + 1, in_a_row + 1
            survived += not problem
            print(f"  {done:3} {how.name} after {delay:5.2f} s{' (fresh)' * fresh}: {problem or 'whole'}", flush=True)
        if over or in_a_row == 3 or done == kills:
            run_to_end(trial.command(output, places, workers), folder, trial.codes)
            if trial.result(output) != expected:
                print(f"  the result of attempt {attempt} is not that of the undisturbed run", flush=True)
                survived -= in_a_row
            attempt, in_a_row = attempt + 1, 0
    return survived


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="kills in all, shared by the commands")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and signals")
    parser.add_argument("--group", action="store_true", help="signals to the whole group, with loading processes")
    parser.add_argument("--verbs", help="such as 'classify train,compare'; by default all")
    options = parser.parse_args()
    trials = [t for t in TRIALS if t.verb in (options.verbs.split(",") if options.verbs else VERBS)]
    survived = 0
    with tempfile.TemporaryDirectory(prefix="kill-and-resume-") as name:
        places = prepare(Path(name))
        for i, trial in enumerate(trials):
            kills = options.kills // len(trials) + (i < options.kills % len(trials))
            chance = random.Random(f"{options.seed} {trial.verb}")
            folder = Path(name) / trial.verb.replace(" ", "-")
            survived += survive(trial, kills, places, options.group, folder, chance)
    print(f"{survived} of {options.kills} kills survived.")
    return 0 if survived == options.kills else 1


if __name__ == "__main__":
    sys.exit(main())
