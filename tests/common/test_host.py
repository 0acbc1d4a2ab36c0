"""Calling the functions from a program of one's own: what they take, refuse, and leave as it was."""

import builtins
import contextlib
import gc
import json
import locale
import logging
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import psutil
import pytest
import safetensors.torch
import torch
from folders import make_folder
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, TQDMProgressBar
from PIL import Image, ImageFile
from tiny import TINY

import mixtransfer as mt
from mixtransfer.api import options_of
from mixtransfer.backbones.skip_init import SkipInit
from mixtransfer.classification.model import open_classifier
from mixtransfer.commandline.arguments import parse
from mixtransfer.common.host import undisturbed
from mixtransfer.comparison.options import CompareOptions
from mixtransfer.hub import finished
from mixtransfer.runs.run_data import images_of_run

OPTIONS = {**TINY, "epochs": 1, "batch_size": 8, "lr": 5e-4}


@pytest.fixture(scope="module")
def animals(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("data") / "animals", {"cat": 14, "dog": 14})


def state():
    generators = random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()
    return *generators, list(warnings.filters), logging.getLogger("lightning.pytorch").level


class Failing(Callback):
    def __init__(self, error):
        self.error = error

    def on_train_batch_end(self, *_):
        raise self.error


def everything():
    """What a process has one of, by name."""
    loggers = {"": logging.root, **logging.root.manager.loggerDict}
    return {
        "generators": (*state()[:3], torch.are_deterministic_algorithms_enabled()),
        "environment": dict(os.environ),
        "filters": list(warnings.filters),
        "loggers": {
            name: (logger.level, list(logger.handlers), list(logger.filters), logger.propagate, logger.disabled)
            for name, logger in loggers.items()
            if isinstance(logger, logging.Logger)
        },
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads(), cv2.getNumThreads()),
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "numpy": (np.geterr(), np.get_printoptions()),
        "torch": (torch.get_default_dtype(), torch.get_float32_matmul_precision(), torch.is_grad_enabled()),
        "gpus": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic, torch.backends.cudnn.enabled),
        "limits": (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, sys.getrecursionlimit()),
        "start": (multiprocessing.get_start_method(True), torch.multiprocessing.get_sharing_strategy()),
        "group": torch.distributed.is_initialized(),
        "hooks": (sys.excepthook, threading.excepthook, sys.stdout, sys.stderr, builtins.__import__),
        "place": (Path.cwd(), locale.setlocale(locale.LC_ALL), list(sys.path), gc.isenabled(), gc.get_freeze_count()),
        "drawing": dict.items(matplotlib.rcParams.copy()),
    }


@contextlib.contextmanager
def nothing_changes():
    """Compares by name; what is imported for the first time within is not this library's."""
    before = everything()
    yield
    after = everything()
    after["loggers"] = {name: after["loggers"].get(name) for name in before["loggers"]}
    changed = {name: (before[name], after[name]) for name in before if after[name] != before[name]}
    assert not changed


@pytest.fixture(scope="module")
def run(animals, tmp_path_factory):
    return mt.train(animals, output=tmp_path_factory.mktemp("runs") / "r", **OPTIONS)


def test_a_training_changes_nothing(animals, run, tmp_path):
    with nothing_changes():
        mt.train(animals, output=tmp_path / "r", **OPTIONS)
    for error, raised in ((KeyboardInterrupt(), mt.Interrupted), (SystemExit(3), SystemExit)):
        with nothing_changes(), pytest.raises(raised):
            mt.train(animals, output=tmp_path / str(raised), callbacks=Failing(error), **OPTIONS)


def test_to_load_and_predict_changes_nothing(animals, run, tmp_path):
    file = next((animals / "cat").iterdir())
    with nothing_changes():
        assert mt.load(run).predict(file).name in ("cat", "dog")
    mt.export(run, "torch", output=tmp_path / "first.pt2", check=2, images=str(animals / "cat"))
    with nothing_changes():
        written = mt.export(run, "torch", output=tmp_path / "model.pt2", check=2, images=str(animals / "cat"))
        assert mt.load(written.path).predict(file).name in ("cat", "dog")


def test_a_detectors_training_changes_nothing(tmp_path):
    pytest.importorskip("detectron2", reason="detectron2 is not installed: mixtransfer install-detectron2")
    from mixtransfer.data.detection.demo import write_digits_on_photos

    data = write_digits_on_photos(tmp_path / "digits", train=8, test=4)
    options = {"backbone": "mobilenetv3_small_050", "weights": "none", "image_size": 96, "batch_size": 4, "workers": 0}
    options |= {"iterations": 2, "eval_every": 2}
    mt.detect.train(data, output=tmp_path / "first", **options)
    with nothing_changes():
        trained = mt.detect.train(data, output=tmp_path / "r", **options)
    with nothing_changes():
        mt.load(trained).predict(next(data.rglob("*.jpg")))


@pytest.mark.parametrize(("error", "raised"), [(ValueError("mine"), ValueError), (KeyboardInterrupt(), mt.Interrupted)])
def test_what_ends_early_leaves_the_host_as_it_was(animals, tmp_path, error, raised):
    random.seed(), np.random.seed(), torch.seed()
    before = state()
    with pytest.raises(raised):
        mt.train(animals, output=tmp_path / "r", callbacks=Failing(error), **OPTIONS)
    assert state() == before


def test_a_callback_that_exits_exits(animals, tmp_path):
    with pytest.raises(SystemExit) as stop:
        mt.train(animals, output=tmp_path / "r", callbacks=Failing(SystemExit(3)), **OPTIONS)
    assert stop.value.code == 3


def test_a_training_is_silent_but_for_its_own_messages(animals, tmp_path, capfd):
    logging.getLogger("lightning.pytorch").setLevel(logging.INFO)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        mt.train(animals, output=tmp_path / "r", **OPTIONS)
    assert [str(one.message) for one in seen if "lightning" in one.filename or "self.log" in str(one.message)] == []
    assert "GPU available" not in "".join(capfd.readouterr())


def test_callbacks_with_a_folder_or_a_bar_of_their_own(animals, tmp_path):
    callbacks = [ModelCheckpoint(tmp_path / "deep" / "er", monitor="val_loss"), TQDMProgressBar()]
    mt.train(animals, output=tmp_path / "r", callbacks=callbacks, **OPTIONS)
    assert list((tmp_path / "deep" / "er").glob("*.ckpt"))


@pytest.mark.parametrize(
    ("callbacks", "says"),
    [
        ([3], "callbacks of Lightning, not 3"),
        ([TQDMProgressBar], "not the class TQDMProgressBar: call it"),
        ([TQDMProgressBar(), TQDMProgressBar()], "several progress bars"),
    ],
)
def test_what_is_no_callback_is_refused_before_there_is_a_folder(animals, tmp_path, callbacks, says):
    with pytest.raises(mt.UserError, match=says):
        mt.train(animals, output=tmp_path / "r", callbacks=callbacks, **OPTIONS)
    assert not (tmp_path / "r").exists()


def write_boxes(root, layout):
    for part in ("train", "val"):
        folder = root / ("images" if layout == "yolo" else "") / part
        folder.mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (16, 16)).save(folder / f"{i}.png")
            if layout == "yolo":
                labels = root / "labels" / part
                labels.mkdir(parents=True, exist_ok=True)
                (labels / f"{i}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
            if layout == "voc":
                (folder / f"{i}.xml").write_text(f"<annotation><filename>{i}.png</filename></annotation>")
        if layout == "coco":
            images = [{"id": i, "file_name": f"{i}.png", "width": 16, "height": 16} for i in range(3)]
            boxes = [{"id": i, "image_id": i, "category_id": 1, "bbox": [1, 1, 4, 4]} for i in range(3)]
            content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "cat"}]}
            (folder / "_annotations.coco.json").write_text(json.dumps(content))
    if layout == "yolo":
        (root / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [cat]\n")
    return root


@pytest.mark.parametrize("layout", ["coco", "yolo", "voc"])
def test_boxes_are_no_classes_called_train_and_val(tmp_path, layout):
    data = write_boxes(tmp_path / "boxes", layout)
    with pytest.raises(mt.UserError, match="images with boxes.*mixtransfer detect train"):
        mt.load_dataset(str(data))


def test_classes_beside_an_annotation_file_are_classes(animals):
    (animals / "cat" / "0.xml").write_text("<annotation><filename>0.png</filename></annotation>")
    assert mt.load_dataset(str(animals)).classes == ["cat", "dog"]


def test_numbers_fit_options_that_take_them_otherwise(tmp_path):
    taken = options_of(mt.TrainOptions, {"precision": 32, "epochs": 2.0, "lr": 1.0, "batch_size": 8.0})
    assert (taken.precision, taken.epochs, taken.lr, taken.batch_size) == ("32", 2, 1.0, 8)
    for wrong, says in (({"epochs": 1.5}, "--epochs"), ({"precision": 64}, "--precision"), ({"ema": 0}, "--ema")):
        with pytest.raises(mt.UserError, match=says):
            options_of(mt.TrainOptions, wrong)


def test_a_configuration_gives_what_is_not_given(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("epochs: 7\nprecision: 32\n")
    taken = options_of(mt.TrainOptions, {"config": file, "epochs": None, "seed": 3})
    assert (taken.epochs, taken.precision, taken.seed) == (7, "32", 3)
    assert options_of(mt.TrainOptions, {"config": file, "epochs": 2}).epochs == 2
    assert options_of(mt.TrainOptions, {"config": "pets"}).epochs
    assert parse("", mt.TrainOptions, {"data": "?"}, ["--config", str(file)]).precision == "32"
    with pytest.raises(mt.UserError, match="no configuration file or recipe 'nope'"):
        options_of(mt.TrainOptions, {"config": "nope"})


def test_values_that_cannot_be_are_one_sentence(animals, tmp_path):
    with pytest.raises(mt.UserError, match="--seed is"):
        mt.train(animals, output=tmp_path / "r", seed=2**70, **OPTIONS)
    with pytest.raises(mt.UserError, match="backbones is empty"):
        mt.compare(animals, backbones=[])
    with pytest.raises(mt.UserError, match="--threshold takes a number"):
        mt.load(tmp_path, threshold="a")
    with pytest.raises(mt.UserError, match="'flowers' is no name of a repository: give it as USER/NAME"):
        mt.push(tmp_path, "flowers")
    assert options_of(CompareOptions, {"data": ["x"], "backbones": "mixnet_s"}).backbones == "mixnet_s"


def test_push_writes_to_a_folder_and_half_a_configuration_is_named(animals, tmp_path):
    run = mt.train(animals, output=tmp_path / "r", logger=True, **OPTIONS)
    assert mt.push(run, "me/animals", output=tmp_path / "hub") == str(tmp_path / "hub")
    assert (tmp_path / "hub" / "README.md").exists() and finished(run)
    run.config.write_text("backbone: mobilenetv3_small_050\n")
    with pytest.raises(mt.UserError, match="does not say what the run was trained on"):
        images_of_run(run)


def test_albumentations_comes_by_one_door_which_leaves_no_trace():
    package = Path(mt.__file__).parent
    imports = re.compile(r"^\s*(import|from) albumentations", re.MULTILINE)
    doors = [file for file in package.rglob("*.py") if imports.search(file.read_text())]
    assert doors == [package / "data" / "quiet.py"]
    script = """
import os, urllib.request
import cv2, lightning, timm, torchvision
asked, before = [], dict(os.environ)
urllib.request.OpenerDirector.open = lambda *given, **more: asked.append(given)
import mixtransfer.data.augment, mixtransfer.data.detection.augment
assert os.environ == before and not asked, (asked, set(os.environ.items()) ^ set(before.items()))
"""
    own = {name: value for name, value in os.environ.items() if name != "NO_ALBUMENTATIONS_UPDATE"}
    for given in ({}, {"NO_ALBUMENTATIONS_UPDATE": "true"}):
        subprocess.run([sys.executable, "-c", script], env={**own, **given}, check=True, timeout=100)


def test_to_open_a_run_draws_nothing_and_puts_nothing_back(animals, tmp_path, monkeypatch):
    """A stream that is drawn from meanwhile goes on: nothing is put back behind it."""
    run = mt.train(animals, output=tmp_path / "r", **OPTIONS)
    expected = torch.rand(4, generator=torch.Generator().manual_seed(5))
    image, drawn = next((animals / "cat").iterdir()), []
    load = safetensors.torch.load_file
    monkeypatch.setattr(safetensors.torch, "load_file", lambda path: (drawn.append(torch.rand(1)), load(path))[1])
    torch.manual_seed(5), random.seed(5), np.random.seed(5)
    before = random.getstate(), str(np.random.get_state())
    drawn.append(torch.rand(1))
    opened = open_classifier(run.folder).model  # which draws in the middle, once for each of two files
    drawn.append(torch.rand(1))
    assert torch.equal(torch.cat(drawn), expected) and (random.getstate(), str(np.random.get_state())) == before
    plain = mt.create_backbone(TINY["backbone"], "none", num_classes=2).eval()
    plain.load_state_dict(load(run.weights))
    pixels = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(opened(pixels), plain(pixels))
    monkeypatch.undo()
    state_before = state()
    mt.load(run).predict(image)
    assert state() == state_before


@pytest.mark.parametrize("name", ["mixnet_s.mixconv35", "test_vit", "tf_mixnet_s"])
def test_what_is_built_without_initialization_answers_the_same_with_the_same_weights(name):
    plain = mt.create_backbone(name, "none", num_classes=3).eval()
    before = state()
    with SkipInit():
        mine = mt.create_backbone(name, "none", num_classes=3).eval()
        assert torch.rand(2).shape == (2,)
    assert state() == before
    mine.load_state_dict(plain.state_dict())
    assert all(map(torch.equal, plain.buffers(), mine.buffers()))
    pixels = torch.rand(1, 3, *plain.pretrained_cfg["input_size"][1:])
    with torch.inference_mode():
        assert torch.equal(mine(pixels), plain(pixels))


def test_the_last_of_several_at_once_leaves_the_host_as_the_first_has_found_it():
    """The first to begin ends first."""
    before = state()
    first, second = undisturbed(), undisturbed()
    first.__enter__()
    second.__enter__()
    random.random(), np.random.rand(), torch.rand(1)
    first.__exit__(None, None, None)
    assert logging.getLogger("lightning.pytorch").level == logging.CRITICAL  # the second is still at work
    second.__exit__(None, None, None)
    assert state() == before


@pytest.mark.parametrize("moment", ["enter", "leave"])
def test_an_object_that_ends_meanwhile_may_use_the_library(moment, monkeypatch):
    """Python may call its __del__, here by a logger's level, in the thread that is entering or leaving."""
    before, called = state(), []

    class Logger(logging.Logger):
        def setLevel(self, level):
            super().setLevel(level)
            if (level == logging.CRITICAL) is (moment == "enter") and not called:
                called.append(level)
                with undisturbed():
                    random.random()

    monkeypatch.setattr(logging.getLogger("lightning.pytorch"), "__class__", Logger)
    done = []

    def work():
        with undisturbed():
            done.append(logging.getLogger("detectron2.engine.train_loop").level)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(20)
    assert done == [logging.CRITICAL] and called and not thread.is_alive()
    assert state() == before


SEVERAL = """
import json, os, pathlib, signal, sys
sys.ps1 = ">>> "  # as where one works interactively
sys.path.insert(0, pathlib.Path("elsewhere"))  # which Python ignores
import psutil, torch, lightning, cv2, timm
from lightning.pytorch.callbacks import Callback, LearningRateMonitor
from mixtransfer.classification import train, processes  # what others set up when they are imported is theirs
import mixtransfer as mt

data, folder, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])

class Failing(Callback):  # in the other process alone
    def __init__(self, how):
        self.how = how

    def on_train_epoch_end(self, trainer, module):
        if trainer.global_rank == 1 and self.how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if trainer.global_rank == 1:
            raise ValueError(f"{self.how} in process 1")

def state():
    return dict(os.environ), torch.distributed.is_initialized(), torch.get_num_threads(), sys.excepthook

before, said = state(), []
trainings = [(2, Failing("bug")), (1, Failing("none")), (2, Failing("killed")), (2, LearningRateMonitor())]
for number, (devices, callback) in enumerate(trainings):
    try:
        run = mt.train(data, output=f"{folder}/{number}", devices=devices, callbacks=callback, logger="csv", **options)
        said.append("test" in run.read_metrics())
    except Exception as error:
        said.append(f"{type(error).__name__}: {error}".replace(folder, "FOLDER"))
    assert state() == before, [a for a in zip(state(), before) if a[0] != a[1]]
    assert not psutil.Process().children(), psutil.Process().children()
print("SAID", json.dumps(said))
"""


def test_several_processes_train_several_times_and_leave_each_as_it_was(animals, tmp_path):
    """In a script without a guard; an error in one of them ends the others, and the next training works."""
    (tmp_path / "script.py").write_text(SEVERAL)
    words = [tmp_path / "script.py", animals, tmp_path, json.dumps(OPTIONS)]
    own = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run([sys.executable, *map(str, words)], env=own, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.partition("SAID ")[2]) == [
        "ValueError: bug in process 1",
        True,
        "UserError: A process of this training was ended from outside (SIGKILL, probably for want of memory). "
        "Go on with: mixtransfer classify train --resume FOLDER/2",
        True,
    ]
    assert "Traceback" not in done.stderr


def test_what_cannot_go_to_another_process_is_said(animals, tmp_path):
    held = Callback()
    held.lock = threading.Lock()
    with pytest.raises(mt.UserError, match="these cannot .*lock"):
        mt.train(animals, output=tmp_path / "r", devices=2, callbacks=held, **OPTIONS)


def test_the_other_processes_end_with_a_first_that_is_killed(animals, tmp_path):
    words = ["classify", "train", animals, "--output", tmp_path / "r", "--devices", "2"]
    for name, value in {**OPTIONS, "epochs": 500}.items():
        words += [f"--{name.replace('_', '-')}", value]
    words = [sys.executable, "-m", "mixtransfer", *map(str, words)]
    first = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert any(line.startswith("Epoch 2/") for line in first.stdout)
    others = psutil.Process(first.pid).children(recursive=True)
    first.kill()
    first.communicate()
    assert others
    gone, alive = psutil.wait_procs(others, timeout=60)
    assert not alive, alive


STOPPED = """
import os, random, signal, sys
random.seed(0)
before, handler = random.getstate(), signal.getsignal(signal.SIGINT)
import mixtransfer as mt

def stopped(how, when):
    from lightning.pytorch.callbacks import Callback
    one = type("Stopped", (Callback,), {when: lambda *_, **__: os.kill(os.getpid(), how)})()
    try:
        mt.train(sys.argv[1], output=sys.argv[2] + when, callbacks=[one], **OPTIONS)
    except mt.Interrupted as told:
        print("Interrupted", when, "Go on with" in str(told))

OPTIONS = {**eval(sys.argv[3]), "epochs": 2}
try:
    mt.train(sys.argv[1], lr=-1)
except mt.UserError:
    print("state", random.getstate() == before)
stopped(signal.SIGTERM, "on_train_batch_end")
stopped(signal.SIGINT, "on_fit_start")
print("handler", signal.getsignal(signal.SIGINT) is handler)
"""


def test_a_script_that_is_asked_to_end(animals, tmp_path):
    """By SIGTERM too, which nobody else handles; Ctrl-C works on, and the first call has drawn nothing."""
    (tmp_path / "script.py").write_text(STOPPED)
    words = [sys.executable, tmp_path / "script.py", animals, tmp_path / "run-", repr(OPTIONS)]
    done = subprocess.run(words, capture_output=True, text=True)
    said = [line for line in done.stdout.splitlines() if line.startswith(("Interrupted", "state", "handler"))]
    assert done.returncode == 0, done.stderr
    assert said == [
        "state True", "Interrupted on_train_batch_end True", "Interrupted on_fit_start True", "handler True",
    ]  # fmt: skip
