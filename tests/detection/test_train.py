"""Training a detector from options to a Run: what it writes, that it repeats, resumes, and starts from others."""

import csv
import json
import re
import signal
import traceback
from types import SimpleNamespace

import detecting  # noqa: F401  skips without detectron2
import numpy as np
import pytest
import safetensors.torch
import torch
from coco_sets import make_coco
from detect_tiny import tiny
from enlivening import enliven
from processes import Command, words_of

from mixtransfer.commandline.cli import main
from mixtransfer.detection.beginning import with_shared_statistics
from mixtransfer.detection.keeper import Keeper
from mixtransfer.detection.loop import DetectionTrainer
from mixtransfer.detection.model import build_detector, open_detector
from mixtransfer.detection.options import TrainOptions
from mixtransfer.detection.scores import CocoScores
from mixtransfer.detection.spec import DetectorSpec
from mixtransfer.detection.train import train
from mixtransfer.errors import UserError
from mixtransfer.runs.run import Run


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
    assert set(metrics["test"]["per_class"]) == set(metrics["test"]["classes"]) == {str(i) for i in range(10)}
    with (finished.folder / "metrics.csv").open() as file:
        assert [row["iteration"] for row in csv.DictReader(file)] == ["3", "6"]
    assert list((finished.folder / "tensorboard").iterdir())
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


@pytest.mark.skipif(torch.cuda.is_available(), reason="on the CPU")
def test_two_processes_train_and_evaluate_like_one(digits, tmp_path):
    """The last evaluation of the training is by two, that of the end by one."""
    run = train(tiny(digits, tmp_path / "r", devices=2, iterations=2, eval_every=2, ema=False))
    with (run.folder / "metrics.csv").open() as file:
        (row,) = csv.DictReader(file)
    validation = run.read_metrics()["validation"]
    assert {name: float(row[name]) for name in ("AP", "AP50")} == pytest.approx(
        {name: validation[name] for name in ("AP", "AP50")}, abs=1e-4
    )


def test_a_sentence_of_another_process_reaches_the_user(digits, tmp_path, monkeypatch):
    """It comes with the whole traceback of that process."""

    def launch(*_):
        try:
            raise UserError("A file is broken: mend it.")
        except UserError:
            text = "\n\n-- Process 1 terminated with the following error:\n" + traceback.format_exc()
            raise torch.multiprocessing.ProcessRaisedException(text, 1, 1) from None

    monkeypatch.setattr("mixtransfer.detection.machines.launch", launch)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UserError, match=r"^A file is broken: mend it\.$"):
        train(tiny(digits, tmp_path / "r", devices=2))


def test_weights_of_the_best_evaluation_are_kept(tmp_path):
    """Of equally good ones the later."""
    network = torch.nn.Linear(1, 1, bias=False)
    keeper = Keeper(Run(tmp_path), TrainOptions(iterations=5))
    keeper.trainer = SimpleNamespace(evaluated=network, lr=0.1, loggers=[], batch_size=16)
    keeper._since = 0.0
    for done, (ap, best) in enumerate(((0.0, 1), (5.0, 2), (3.0, 2), (5.0, 4), (4.0, 4)), 1):
        torch.nn.init.constant_(network.weight, done)
        keeper._losses = [{"loss_cls": 1.0}]
        keeper._keep(done, CocoScores({"AP": ap, "AP50": ap}, {}, np.zeros((10, 101, 0))), 1.0)
        assert safetensors.torch.load_file(tmp_path / "model.safetensors")["weight"].item() == best


@pytest.mark.parametrize("parts", [1, 2, 5, 9])
def test_gradients_of_a_batch_in_parts_are_those_of_the_whole(parts):
    class Mean(torch.nn.Linear):
        def forward(self, batch):
            return {"loss_cls": super().forward(torch.stack(batch)).square().mean()}

    network, batch = Mean(3, 1), list(torch.rand(7, 3))
    trainer = DetectionTrainer.__new__(DetectionTrainer)
    trainer.parallel, trainer.world, trainer.options = network, 1, TrainOptions(accumulate=parts)
    trainer.device, trainer.dtype, trainer.scaler = (
        torch.device("cpu"),
        None,
        torch.amp.GradScaler("cpu", enabled=False),
    )
    losses = trainer._propagate(batch)
    found = network.weight.grad.clone()
    network.zero_grad()
    expected = network(batch)["loss_cls"]
    expected.backward()
    assert losses == {"loss_cls": pytest.approx(expected.item(), rel=1e-5)}
    torch.testing.assert_close(found, network.weight.grad)


@pytest.mark.parametrize("tap", ["auto", "stage"])
def test_norms_that_share_their_statistics_keep_activations_and_maps(tap):
    model = enliven(build_detector("mobilenetv3_small_050", "none", 2, DetectorSpec(image_size=96, tap=tap))).eval()
    images = torch.rand(2, 3, 96, 96)
    expected = model.predict(images)[0]
    assert with_shared_statistics(model, 8) is model
    shared = with_shared_statistics(model, 7.5)
    assert any(isinstance(module, torch.nn.SyncBatchNorm) for module in shared.modules())
    torch.testing.assert_close(shared.eval().predict(images)[0], expected)


def test_training_ends_when_nothing_has_been_gained_for_so_long(digits, tmp_path, capsys):
    """Also when it is resumed just then."""
    run = train(tiny(digits, tmp_path / "r", iterations=6, eval_every=1, patience=2, lr=0.0, batch_norm="frozen"))
    assert "Stopping" in capsys.readouterr().out and len(run.read_history()) == 3 and "test" in run.read_metrics()
    run.metrics.unlink()
    assert main(["detect", "train", "--resume", str(run.folder)]) == 0
    assert len(run.read_history()) == 3 and "test" in run.read_metrics()


@pytest.mark.parametrize(
    ("scores", "patience", "enough"),
    [([5, 4, 5], 2, True), ([5, 4, 6], 2, False), ([5, 6, 4], 2, False), ([5, 4, 3], 0, False), ([5, None], 2, False)],
)
def test_patience_counts_evaluations_since_the_last_gain(tmp_path, scores, patience, enough):
    keeper = Keeper(Run(tmp_path), TrainOptions(patience=patience))
    keeper.rows = [{"AP": score} for score in scores]
    assert keeper.enough is enough


@pytest.mark.parametrize(
    "changes",
    [
        {"accumulate": 3, "batch_size": 8},
        {"loss": "focal", "optimizer": "sgd", "ema": False, "clip_grad": 0.0},
        {"batch_size": 1, "augment": "standard", "tap": "stage"},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_options_work_together(digits, tmp_path, changes):
    run = train(tiny(digits, tmp_path / "r", **{"iterations": 2, "eval_every": 2, **changes}))
    assert "test" in run.read_metrics()


def start_of(tmp_path, finished, names, **changes):
    """Weights right after the start from a run, for data with classes of these names, by number of category."""

    def renamed(coco):
        coco["categories"] = [{"id": i, "name": name} for i, name in enumerate(names, 1)]
        for i, annotation in enumerate(coco["annotations"]):
            annotation["category_id"] = 1 + i % len(names)

    data = make_coco(tmp_path / "pets", renamed, train=12)
    start = {"weights": str(finished.folder), "iterations": 1, "lr": 0.0, "warmup": 0, "ema": False}
    run = train(tiny(data, tmp_path / "r", **start | changes))
    assert open_detector(run.folder).classes == list(names)
    return safetensors.torch.load_file(finished.weights), safetensors.torch.load_file(run.weights)


def rows_of(state, classes):
    """Weight and bias of each class's logits (the background last), all maps and anchors side by side."""
    layers = [state[name] for name in sorted(state) if re.fullmatch(r"head\.classes\.\d\.1\.(weight|bias)", name)]
    by_class = [layer.unflatten(0, (-1, classes + 1)).movedim(1, 0).flatten(1) for layer in layers]
    return torch.cat(by_class, dim=1)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        # As many as the run has, which are "0" … "9": the number says nothing.
        (["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"], "classes by name: none is known: a, b, c"),
        (["9", "8", "7", "6", "5", "4", "3", "2", "1", "0"], "which knows all classes"),
        (["cat", "7", "dog"], "classes by name: 7 as there, cat, dog from scratch"),
    ],
)
def test_another_runs_detector_is_a_start_and_its_classes_go_by_name(finished, tmp_path, capsys, names, says):
    before, after = start_of(tmp_path, finished, names)
    assert f"Started from {finished.folder}" in (out := capsys.readouterr().out) and says in out
    for name, value in after.items():
        if "running" not in name and "num_batches" not in name:
            assert re.match(r"head\.classes\.\d\.1\.", name) or torch.equal(before[name], value), name
    theirs, ours = rows_of(before, 10), rows_of(after, len(names))
    assert torch.equal(ours[-1], theirs[-1])  # the background
    for row, name in zip(ours, names, strict=False):
        same = [i for i in range(11) if torch.equal(row, theirs[i])]
        assert same == ([int(name)] if name.isdigit() else [])


def test_logits_of_another_loss_are_not_taken(finished, tmp_path, capsys):
    """Focal loss has no background: eleven classes have as many logits as ten and the background."""
    before, after = start_of(tmp_path, finished, [str(i) for i in range(10)] + ["10"], loss="focal")
    assert "none is known" in capsys.readouterr().out
    name = "head.classes.0.1.weight"
    assert before[name].shape == after[name].shape and not torch.equal(before[name], after[name])


def test_weights_of_another_detector(digits, finished, tmp_path):
    with pytest.raises(UserError, match="another backbone"):
        train(tiny(digits, tmp_path / "r", backbone="mobilenetv2_035", weights=str(finished.folder)))


def test_data_is_asked_for():
    with pytest.raises(UserError, match="Say what to train on"):
        train(TrainOptions())


def test_a_rate_that_ruins_the_network_is_one_sentence(digits, tmp_path):
    """Weights that give boxes without numbers, while the losses still were some."""
    with pytest.raises(UserError, match=r"not finite in iteration \d: train anew with a smaller --lr"):
        train(tiny(digits, tmp_path / "r", iterations=4, eval_every=2, lr=1e6))


def test_a_network_without_maps_is_refused_before_anything_is_written(digits, tmp_path):
    options = tiny(digits, tmp_path / "run", backbone="vit_tiny_patch16_224", image_size=224)
    with pytest.raises(UserError, match="has no map at stride 32"):
        train(options)
    assert not (tmp_path / "run").exists()
