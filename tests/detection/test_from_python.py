"""Training a detector from a program: what it takes, and what it leaves as it was."""

import multiprocessing
import random
import threading

import detecting  # noqa: F401  skips without detectron2
import numpy as np
import pytest
import safetensors.torch
import torch
from detectron2.engine import HookBase
from in_threads import in_threads
from lightning.pytorch.loggers import CSVLogger

import mixtransfer as mt
from mixtransfer.detection.model import build_detector, open_detector


class Raises(HookBase):
    def after_step(self):
        raise ValueError("mine")


def test_an_error_leaves_no_thread_and_no_random_state(digits, tmp_path):
    options = {"backbone": "mobilenetv3_small_050", "weights": "none", "image_size": 96, "batch_size": 4}
    options |= {"iterations": 1, "workers": 1}
    threads, generator = set(threading.enumerate()), torch.get_rng_state()
    with pytest.raises(ValueError, match="mine"):
        mt.detect.train(digits, output=tmp_path / "r", hooks=Raises(), **options)
    left = {thread.name for thread in set(threading.enumerate()) - threads}
    assert left <= {"tqdm_monitor"} and not multiprocessing.active_children()
    assert torch.equal(torch.get_rng_state(), generator)
    for hooks in (Raises, [3]):
        with pytest.raises(mt.UserError, match="hooks takes hooks of detectron2"):
            mt.detect.train(digits, output=tmp_path / "s", hooks=hooks, **options)


def test_loggers_of_lightning_are_taken(digits, tmp_path):
    options = {"backbone": "mobilenetv3_small_050", "weights": "none", "image_size": 96, "batch_size": 4}
    logger = CSVLogger(tmp_path / "own")
    mt.detect.train(digits, output=tmp_path / "r", logger=["csv", logger], iterations=2, workers=0, **options)
    assert next((tmp_path / "own").rglob("metrics.csv")).read_text().count("\n") > 1
    assert list((tmp_path / "r" / "csv").rglob("metrics.csv"))


def test_two_trainings_in_threads_come_one_after_the_other(digits, tmp_path):
    options = {"backbone": "mobilenetv3_small_050", "weights": "none", "image_size": 96, "batch_size": 4}
    runs = in_threads(
        lambda name: mt.detect.train(digits, output=tmp_path / name, iterations=2, workers=0, **options), ["a", "b"]
    )
    first, second = (safetensors.torch.load_file(run.weights) for run in runs)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_hook_may_train_another_detector(digits, tmp_path):
    options = {"backbone": "mobilenetv3_small_050", "weights": "none", "image_size": 96, "batch_size": 4}
    options |= {"iterations": 1, "workers": 0}

    class Trains(HookBase):
        def after_step(self):
            mt.detect.train(digits, output=tmp_path / "inner", **options)

    mt.detect.train(digits, output=tmp_path / "outer", hooks=Trains(), **options)
    assert all(mt.Run.open(tmp_path / name).read_metrics()["test"] for name in ("inner", "outer"))


def test_to_open_a_run_draws_nothing(finished):
    def state():
        return random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()

    before = state()
    mt.load(finished)
    opened = open_detector(finished.folder)
    assert state() == before
    plain = build_detector(finished.read_config()["backbone"], "none", len(opened.classes), opened.spec).eval()
    finished.load_weights(plain)
    image = [{"image": torch.randint(256, (3, 96, 96), dtype=torch.uint8)}]
    with torch.inference_mode():
        (found,), (expected,) = opened.model(image), plain(image)
    for name, values in expected["instances"].get_fields().items():
        values, ours = (getattr(one, "tensor", one) for one in (values, found["instances"].get(name)))
        assert torch.equal(values, ours)
    assert all(map(torch.equal, plain.buffers(), opened.model.buffers()))
