"""mixtransfer as a library: what the commands do as functions, its Lightning classes, and what it leaves alone."""

import csv
import io
import json
import logging
import os
import pickle
import subprocess
import sys
from dataclasses import replace

import albumentations as A
import lightning as L
import numpy as np
import pytest
import torch
from folders import make_folder
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.loggers import CSVLogger
from PIL import Image
from tiny import TINY

import mixtransfer as mt
from mixtransfer.answers import Objects
from mixtransfer.commandline.cli import main
from mixtransfer.common.messages import LOGGER
from mixtransfer.picture import to_image

OPTIONS = {**TINY, "batch_size": 8, "lr": 5e-4}


@pytest.fixture(scope="module")
def animals(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("data") / "animals", {"cat": 14, "dog": 14, "emu": 14})


@pytest.fixture(scope="module")
def run(animals, tmp_path_factory):
    return mt.train(animals, output=tmp_path_factory.mktemp("runs") / "r", **OPTIONS)


def test_train_does_what_the_command_does(animals, run, tmp_path):
    words = ["--backbone", TINY["backbone"], "--weights", "none", "--image-size", "32", "--epochs", "3"]
    words += ["--workers", "0", "--batch-size", "8", "--lr", "5e-4", "--output", str(tmp_path / "r")]
    assert main(["classify", "train", str(animals), *words]) == 0
    assert isinstance(run, mt.Run)
    assert mt.Run.open(tmp_path / "r").read_metrics()["test"] == run.read_metrics()["test"]


def test_options_are_checked_as_the_command_checks_them(animals, tmp_path):
    for options, says in (
        ({"epoch": 3}, "no option 'epoch'; did you mean 'epochs'?"),
        ({"augment": "a\0b"}, "augment is .*: give another"),
        ({"weights": ""}, "weights is '': give another"),
        ({"epochs": "many"}, "--epochs takes a whole number"),
        ({"backbone": "mixnet_x"}, "mixnet_x"),
        ({"logger": "neptune"}, "--logger 'neptune' is not one of tensorboard, csv"),
    ):
        with pytest.raises(mt.UserError, match=says):
            mt.train(animals, output=tmp_path / "r", **{**OPTIONS, **options})
    assert not (tmp_path / "r").exists()


def test_predict_takes_files_and_images_and_says_what_the_command_says(animals, run, capsys):
    model = mt.load(run)
    files = sorted((animals / "cat").iterdir())[:3]
    assert main(["classify", "predict", str(run.folder), *map(str, files), "--json", "--top", "3"]) == 0
    said = [json.loads(line)["top"] for line in capsys.readouterr().out.splitlines()]
    pixels = [np.asarray(Image.open(file)) for file in files]
    for images in (files, [Image.open(file) for file in files], pixels):
        found = model.predict(images)
        for one, top in zip(found, said, strict=True):
            assert [name for name, _ in one.top(3)] == [entry["class"] for entry in top]
            assert [p for _, p in one.top(3)] == pytest.approx([e["probability"] for e in top], abs=1e-5)
    alone = model.predict(str(files[0]))
    assert (alone.name, alone.probability) == alone.top(1)[0] == found[0].top(1)[0]
    assert alone.probabilities.shape == (3,) and alone.probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert model.classes == ["cat", "dog", "emu"] and model.task == "classification"
    assert len(model.predict(files * 15, batch_size=7)) == 45 and len(list(model.stream(iter(files)))) == 3


def test_an_open_image_is_seen_as_its_file(animals, run, tmp_path):
    """Upright, whatever its mode."""
    photo = Image.open(next((animals / "dog").iterdir()))
    exif = Image.Exif()
    exif[0x0112] = 6
    tall = photo.crop((0, 0, 48, 20))
    tall.save(tmp_path / "turned.jpg", exif=exif)
    photo.convert("RGBA").save(tmp_path / "clear.png")
    photo.convert("I;16").save(tmp_path / "deep.png")
    model = mt.load(run)
    for file in ("turned.jpg", "clear.png", "deep.png"):
        ours, opened = model.predict(tmp_path / file), model.predict(Image.open(tmp_path / file))
        np.testing.assert_allclose(ours.probabilities, opened.probabilities, atol=1e-5)
    assert to_image(Image.open(tmp_path / "turned.jpg")).size == (20, 48)


@pytest.mark.parametrize(
    ("picture", "says"),
    [
        (np.zeros((4, 4, 5), np.uint8), "not uint8"),
        (np.zeros((4, 4, 3)), "not float64"),
        ("none.jpg", "none.jpg"),
        (3, "not int"),
        (None, "not NoneType"),
        (b"", "The data is not an image."),
        (io.BytesIO(b"nonsense"), "The data is not an image."),
        (Image.new("L", (8, 8), 200).convert("I"), "mode I with values up to 200"),
    ],
)
def test_what_is_no_image_is_one_sentence(run, picture, says):
    with pytest.raises(mt.UserError, match=says):
        mt.load(run.folder).predict([picture])
    with pytest.raises(mt.UserError, match=says):
        mt.load(run.folder).predict(picture)


def test_an_encoded_image_and_every_array_are_seen_as_the_file(animals, run, tmp_path):
    model = mt.load(run)
    file = tmp_path / "grey.png"
    Image.open(next((animals / "dog").iterdir())).convert("L").save(file)
    grey = np.asarray(Image.open(file))
    opaque = np.dstack([grey, grey, grey, np.full_like(grey, 255)])
    expected = model.predict(file)
    with file.open("rb") as opened:
        for picture in (file.read_bytes(), io.BytesIO(file.read_bytes()), opened, grey, grey[:, :, None], opaque):
            np.testing.assert_allclose(model.predict(picture).probabilities, expected.probabilities, atol=1e-5)
    batch = model.predict(np.stack([opaque[:, :, :3]] * 3))
    assert [answer.name for answer in batch] == [expected.name] * 3
    clear = np.dstack([np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9), np.uint8)])
    assert np.asarray(to_image(clear)).min() == 255  # white, as of a file


def test_answers_are_compared_and_go_into_json(animals, run, capsys):
    model = mt.load(run)
    files = sorted((animals / "cat").iterdir())[:2]
    one, other = model.predict(files)
    assert one == model.predict(files)[0] and one != other and one != "cat"
    assert main(["classify", "predict", str(run.folder), str(files[0]), "--json"]) == 0
    said, ours = json.loads(capsys.readouterr().out)["top"], json.loads(json.dumps(one.to_dict()))["top"]
    assert [entry["class"] for entry in ours] == [entry["class"] for entry in said]
    with pytest.raises(mt.UserError, match="count is -1"):
        one.top(-1)
    objects = Objects(
        ["cat", "dog"], np.array([[1.0, 2, 3, 4]], np.float32), np.array([0.5], np.float32), np.array([1])
    )
    assert [(found.name, found.score, found.box) for found in objects] == [("dog", 0.5, (1, 2, 3, 4))]
    assert json.loads(json.dumps(objects.to_dict())) == {
        "objects": [{"class": "dog", "score": 0.5, "box": [1, 2, 3, 4]}]
    }
    assert objects == replace(objects) and objects != replace(objects, labels=np.array([0]))


def test_an_export_loads_like_its_run(run, animals, tmp_path):
    written = mt.export(run, "torch", output=tmp_path / "model.pt2", check=2, images=str(animals / "cat"))
    file = next((animals / "dog").iterdir())
    ours, exported = (mt.load(source).predict(file).probabilities for source in (run, written.path))
    np.testing.assert_allclose(ours, exported, atol=1e-4)
    model = mt.load(written.path)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(file).probabilities, exported)


def test_runs_are_compared(run, animals, tmp_path):
    other = mt.train(animals, output=tmp_path / "other", **{**OPTIONS, "backbone": "mobilenetv3_small_075"})
    compared = mt.compare([run, other.folder], output=tmp_path / "c", rounds=0)
    assert {row.backbone for row in compared.rows} == {"mobilenetv3_small_050", "mobilenetv3_small_075"}
    assert compared.words and (tmp_path / "c" / "report.html").exists()
    assert len(compared.to_list()) == 2


class Pixels:
    """A transform of one's own: what evaluation shows, at 32 pixels."""

    def __call__(self, image):
        return image.resize((32, 32))


STRANGER = """
import json, sys
import albumentations as A
import lightning as L
from lightning.pytorch.loggers import CSVLogger
import mixtransfer as mt

dataset = mt.load_dataset("digits")
L.seed_everything(0)
model = mt.create_backbone("mobilenetv3_small_050", weights="none", num_classes=10)
recipe = mt.Recipe(lr=2e-3, layer_decay=1.0, batch_norm="train", seed=0)
mine = A.Compose([A.RandomResizedCrop((32, 32), scale=(0.8, 1.0)), A.RandomBrightnessContrast()])
data = mt.ImageDataModule(dataset, augment=mine, batch_size=64, workers=0, seed=0)
module = mt.ImageClassifier(model, mt.Preprocessing.of(model, 32), recipe)
trainer = L.Trainer(
    max_epochs=2,
    callbacks=recipe.callbacks(),
    logger=CSVLogger(sys.argv[1]),
    accelerator="cpu",
    enable_progress_bar=False,
    num_sanity_val_steps=0,
    enable_checkpointing=False,
)
trainer.fit(module, data)
reached = {name: float(value) for name, value in trainer.callback_metrics.items()}
trainer.test(module, data)
print(json.dumps(reached))
"""


def test_a_strangers_script_reaches_what_the_command_reaches(tmp_path):
    """Their own Trainer, transform and logger, and the same seed: the same validation accuracy."""
    (tmp_path / "stranger.py").write_text(STRANGER)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "stranger.py"), str(tmp_path / "logs")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    reached = json.loads(done.stdout.splitlines()[-1])
    mine = A.Compose([A.RandomResizedCrop((32, 32), scale=(0.8, 1.0)), A.RandomBrightnessContrast()])
    A.save(mine, tmp_path / "mine.yaml", data_format="yaml")
    words = ["--backbone", "mobilenetv3_small_050", "--weights", "none", "--image-size", "32", "--epochs", "2"]
    words += ["--lr", "2e-3", "--batch-size", "64", "--workers", "0", "--augment", str(tmp_path / "mine.yaml")]
    assert main(["classify", "train", "digits", *words, "--output", str(tmp_path / "r")]) == 0
    with (tmp_path / "r" / "metrics.csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    assert float(last["val_top1"]) == pytest.approx(reached["val_top1"], abs=1e-6) and reached["val_top1"] > 0.15
    assert float(last["val_loss"]) == pytest.approx(reached["val_loss"], rel=1e-4)
    with next((tmp_path / "logs").rglob("metrics.csv")).open() as file:
        logged = {name for row in csv.DictReader(file) for name, value in row.items() if value}
    assert {"train_loss", "train_top1", "val_loss", "val_top1", "test_loss", "test_top1"} <= logged


def test_lightnings_command_line_runs_the_classes(animals, tmp_path, monkeypatch):
    (tmp_path / "config.yaml").write_text(f"""
seed_everything: 0
trainer: {{max_epochs: 1, accelerator: cpu, logger: false, enable_checkpointing: false, enable_progress_bar: false}}
model:
  model:
    class_path: mixtransfer.create_backbone
    init_args: {{name: mobilenetv3_small_050, weights: none, num_classes: 3}}
  preprocessing: {{size: 32}}
  recipe: {{lr: 0.001, batch_norm: train}}
data: {{dataset: {animals}, batch_size: 8, workers: 0}}
""")
    for verb in ("fit", "test"):
        monkeypatch.setattr(sys, "argv", ["cli", verb, "--config", str(tmp_path / "config.yaml")])
        cli = LightningCLI(mt.ImageClassifier, mt.ImageDataModule, save_config_callback=None)
        assert f"{'val' if verb == 'fit' else 'test'}_top1" in cli.trainer.callback_metrics
    assert cli.model.recipe.lr == 1e-3


class Watch(Callback):
    """Notes the epochs that ended."""

    def __init__(self):
        self.epochs = []

    def on_train_epoch_end(self, trainer, pl_module):
        self.epochs.append(trainer.current_epoch)


def test_callbacks_and_loggers_of_ones_own(animals, tmp_path):
    watch = Watch()
    logger = CSVLogger(tmp_path / "own")
    mt.train(animals, output=tmp_path / "r", callbacks=[watch], logger=logger, **OPTIONS)
    assert watch.epochs == [0, 1, 2]
    with next((tmp_path / "own").rglob("metrics.csv")).open() as file:
        rows = list(csv.DictReader(file))
    assert len([row for row in rows if row["val_top1"]]) == 3 and any(row["test_top1"] for row in rows)
    assert "mobilenetv3_small_050" in next((tmp_path / "own").rglob("hparams.yaml")).read_text()


def test_the_host_process_stays_as_it_is(animals, tmp_path):
    """What a command does to its process, the library does not."""
    (tmp_path / "host.py").write_text(f"""
import ctypes, logging, os, random, sys, warnings
called = []
ctypes.CDLL = lambda *a, _real=ctypes.CDLL, **more: called.append(a) or _real(*a, **more)
import mixtransfer as mt
assert not {{"torch", "lightning", "numpy", "timm"}} & set(sys.modules), "import is not instant"
import numpy, torch, PIL.Image, lightning
def state():
    return (
        list(warnings.filters), logging.getLogger("lightning.pytorch").level, logging.root.level,
        torch.get_num_threads(),
        set(vars(numpy)) & {{"float", "int"}}, hasattr(PIL.Image, "LINEAR"), dict(os.environ), random.getstate(),
        torch.get_rng_state().tolist(), str(numpy.random.get_state()),
    )
from mixtransfer.classification import train, options  # what these libraries do when they are imported is theirs
from mixtransfer import prediction, hub
before = state()
called.clear()
run = mt.train({str(animals)!r}, output={str(tmp_path / "r")!r}, **{OPTIONS!r})
print(mt.load(run).predict({str(next((animals / "cat").iterdir()))!r}), file=sys.stderr)
after = state()
names = "filters lightning root threads numpy pillow environ random torch nprandom".split()
changed = [name for name, a, b in zip(names, before, after) if a != b]
assert not changed, changed
assert not any(a == (None,) for a in called), "mallopt"
""")
    done = subprocess.run([sys.executable, str(tmp_path / "host.py")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "images to train on" not in done.stdout  # messages go to a logger, which nobody has asked to print


def test_messages_go_through_logging(animals, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(LOGGER, "propagate", True)
    with caplog.at_level(logging.INFO, "mixtransfer"):
        mt.train(animals, output=tmp_path / "r", **{**OPTIONS, "epochs": 1})
    said = [record.getMessage() for record in caplog.records if record.name == "mixtransfer"]
    assert any("images to train on" in sentence for sentence in said)
    assert any(sentence.startswith("Epoch 1/1: loss") for sentence in said)


@pytest.fixture
def flips():
    return A.Compose([A.HorizontalFlip(p=1.0), A.Resize(32, 32)])


def test_an_augmentation_from_python_is_kept_for_those_who_go_on(animals, tmp_path, flips, monkeypatch):
    run = mt.train(animals, output=tmp_path / "r", augment=flips, **{**OPTIONS, "epochs": 1})
    assert run.read_config()["augment"] == "object"
    assert A.load(run.augment, data_format="yaml").transforms[0].__class__.__name__ == "HorizontalFlip"
    (run.folder / "metrics.json").unlink()
    for name in ("model.safetensors", "last.ckpt"):
        (run.folder / name).unlink()
    assert mt.train(resume=run).read_metrics()["test"]


def test_a_function_augments_but_has_to_be_given_again(animals, tmp_path):
    run = mt.train(animals, output=tmp_path / "r", augment=Pixels(), **{**OPTIONS, "epochs": 1})
    (run.folder / "metrics.json").unlink()
    (run.folder / "last.ckpt").unlink()
    with pytest.raises(mt.UserError, match="is an object of Python: give it"):
        mt.train(resume=run.folder)
    assert mt.train(resume=run.folder, augment=Pixels()).read_metrics()["test"]


@pytest.mark.parametrize("distributes", [True, False])
def test_every_image_is_seen_once_whether_lightning_distributes_or_not(animals, tmp_path, distributes):
    """Two processes: their shares of an epoch, and of an evaluation, are all images without overlap."""
    script = f"""
import lightning as L, torch, torch.distributed as dist
import mixtransfer as mt
from mixtransfer.data.preprocessing import Preprocessing
from lightning.pytorch.callbacks import Callback
class See(Callback):
    def on_fit_start(self, trainer, module): self.trained = []
    def on_train_batch_start(self, trainer, module, batch, index):
        self.trained += [image.numpy().tobytes() for image in batch[0]]
    def on_test_end(self, trainer, module):
        said = module.take_predictions()
        every = [None, None]
        dist.all_gather_object(every, self.trained)
        if trainer.is_global_zero:
            with open({str(tmp_path / "seen")!r}, "w") as file:
                trained = len(set(every[0] + every[1]))
                print(trained, len(said.labels), len(data.dataset.train), len(data.dataset.test), file=file)
L.seed_everything(0)
data = mt.ImageDataModule({str(animals)!r}, Preprocessing(32), "none", batch_size=4, workers=0)
module = mt.ImageClassifier(mt.create_backbone("mobilenetv3_small_050", "none", num_classes=3), data.preprocessing)
trainer = L.Trainer(max_epochs=1, accelerator="cpu", devices=2, strategy="ddp", use_distributed_sampler={distributes},
    logger=False, enable_checkpointing=False, enable_progress_bar=False, callbacks=[See(), *module.recipe.callbacks()])
trainer.fit(module, data)
trainer.test(module, data)
"""
    (tmp_path / "two.py").write_text(script)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "two.py")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    assert done.returncode == 0, done.stderr
    trained, tested, train, test = map(int, (tmp_path / "seen").read_text().split())
    assert trained == train and tested == test


def test_a_module_without_a_recipe_trains_under_a_plain_trainer(animals):
    """The rate follows the Trainer's own steps: it rises, and falls to nearly nothing."""
    rates = []

    class Rates(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            rates.append(max(group["lr"] for group in trainer.optimizers[0].param_groups))

    model = mt.create_backbone("mobilenetv3_small_050", "none", num_classes=3)
    data = mt.ImageDataModule(str(animals), mt.Preprocessing.of(model, 32), batch_size=8, workers=0)
    trainer = L.Trainer(
        max_steps=12, max_epochs=-1, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, callbacks=[Rates()],
    )  # fmt: skip
    trainer.fit(mt.ImageClassifier(model, data.preprocessing), data)
    assert len(rates) == 12 and max(rates) == pytest.approx(2e-3, rel=0.35)
    assert rates.index(max(rates)) < 5 and rates[-1] < 0.1 * max(rates)
    assert torch.isfinite(trainer.callback_metrics["val_loss"])


def test_numbers_of_numpy_and_lists_of_loggers_are_options_too(animals, tmp_path):
    logger = CSVLogger(tmp_path / "own")
    options = {**OPTIONS, "lr": np.float64(5e-4), "epochs": np.int64(1)}
    run = mt.train(animals, output=tmp_path / "r", logger=["csv", logger], **options)
    assert run.read_config()["lr"] == 5e-4 and list((run.folder / "csv").rglob("metrics.csv"))
    assert list((tmp_path / "own").rglob("metrics.csv"))
    for wrong in ([3], object()):
        with pytest.raises(mt.UserError, match="takes names and loggers"):
            mt.train(animals, output=tmp_path / "s", logger=wrong, **OPTIONS)
    (tmp_path / "c.yaml").write_text("logger: csv\n")
    config = {"config": tmp_path / "c.yaml", **OPTIONS, "epochs": 1}
    run = mt.train(animals, output=tmp_path / "t", logger=False, **config)
    assert not (run.folder / "csv").exists()
    (tmp_path / "p.yaml").write_text("preview: true\n")
    with pytest.raises(mt.UserError, match="preview is for the command"):
        mt.train(animals, config=tmp_path / "p.yaml", **OPTIONS)


def test_what_chooses_is_not_logged_as_a_result(tmp_path, run):
    """Mixtures are tried on the way, and where folds judge, the images to validate on are trained on."""
    data = make_folder(tmp_path / "d", {"cat": 14, "dog": 14, "emu": 14})
    options = {**OPTIONS, "weights": str(run.weights), "epochs": 2}
    folded = mt.train(data, output=tmp_path / "r", logger="csv", **options)
    with next((folded.folder / "csv").rglob("metrics.csv")).open() as file:
        rows = list(csv.DictReader(file))
    tested = [float(row["test_top1"]) for row in rows if row.get("test_top1")]
    assert tested == [pytest.approx(folded.read_metrics()["test"]["top1"]["value"])]
    assert not any(row.get("val_top1") or row.get("val_calibrated_loss") for row in rows)


def test_a_data_module_follows_each_network_that_it_is_used_with(animals):
    data = mt.ImageDataModule(animals, batch_size=4, workers=0)
    for size in (32, 64):
        model = mt.create_backbone("mobilenetv3_small_050", "none", num_classes=3)
        seen = []

        class See(Callback):
            def on_train_batch_start(self, trainer, pl_module, batch, batch_idx, seen=seen):
                seen.append(tuple(batch[0].shape[2:]))

        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = L.Trainer(max_steps=1, accelerator="cpu", callbacks=[See()], **quiet)
        trainer.fit(mt.ImageClassifier(model, mt.Preprocessing.of(model, size)), data)
        assert seen == [(size, size)]


def test_another_augmentation_than_the_runs_own_is_refused(animals, tmp_path, flips):
    run = mt.train(animals, output=tmp_path / "r", augment=flips, **{**OPTIONS, "epochs": 1})
    (run.folder / "metrics.json").unlink()
    with pytest.raises(mt.UserError, match="goes on with its own augmentation"):
        mt.train(resume=run.folder, augment=A.Compose([A.VerticalFlip(p=1.0)]))
    with pytest.raises(mt.UserError, match="cannot be read"):
        mt.train(animals, output=tmp_path / "none", augment=str(tmp_path / "none.yaml"), **OPTIONS)
    assert not (tmp_path / "none").exists()
    with pytest.raises(mt.UserError, match="preview is for the command"):
        mt.train(animals, preview=True)


def test_whole_numbers_are_of_any_kind_and_nothing_else_is_one(animals, run, tmp_path):
    model = mt.load(run)
    image = np.zeros((32, 32, 3), np.uint8)
    data = {"dataset": mt.load_dataset(str(animals))}
    takes = {
        "seed": lambda value: (mt.Recipe(seed=value).seed, mt.ImageDataModule(**data, seed=value).seed),
        "size": lambda value: (mt.Preprocessing(size=value).size,),
        "batch_size": lambda value: (
            mt.ImageDataModule(**data, batch_size=value).batch_size,
            len(model.predict([image] * 3, batch_size=value)),
        ),
        "workers": lambda value: (mt.ImageDataModule(**data, workers=value).workers,),
        "num_classes": lambda value: (mt.create_backbone(TINY["backbone"], "none", num_classes=value).num_classes,),
        "count": lambda value: (len(model.predict(image).top(value)),),
    }
    for name, take in takes.items():
        for value in (3, 3.0, np.int64(3), np.uint8(3), np.float32(3)):
            for taken in take(value):
                assert taken == 3 and type(taken) is int
        for wrong in (True, np.True_, 2.5, "3", None if name not in ("size", "workers") else "", float("nan"), -1, [3]):
            with pytest.raises(mt.UserError, match=f"{name} is .*; it must be a whole number"):
                take(wrong)
    for wrong in (True, np.True_, 2.5):
        for option in ("epochs", "batch_size", "seed", "devices"):
            with pytest.raises(mt.UserError, match=f"--{option.replace('_', '-')} takes a whole number"):
                mt.train(animals, output=tmp_path / "r", **{**OPTIONS, option: wrong})
