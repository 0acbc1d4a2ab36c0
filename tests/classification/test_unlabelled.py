"""Learning from images without labels too."""

import csv
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from folders import make_folder
from PIL import Image
from tiny import tiny, train_interrupted

from mixtransfer.classification import unlabelled
from mixtransfer.classification.options import TrainOptions
from mixtransfer.classification.train import train
from mixtransfer.commandline.cli import main
from mixtransfer.errors import UserError


@pytest.fixture(scope="module")
def teacher(colours, tmp_path_factory):
    options = tiny(colours, tmp_path_factory.mktemp("runs") / "teacher", epochs=12, lr=2e-3, mixup=0.0, cutmix=0.0)
    return train(options)


@pytest.fixture
def apart(colours, tmp_path):
    """Data of half the training images, and a folder of the others, whose names begin with their class."""
    for image in sorted(colours.rglob("*.jpg")):
        part, label = image.relative_to(colours).parts[:2]
        others = part == "train" and int(image.stem) % 2
        target = (
            tmp_path / "others" / f"{label}-{image.name}" if others else tmp_path / "data" / part / label / image.name
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, target)
    return tmp_path / "data", tmp_path / "others"


def kept(run) -> list[dict]:
    with run.pseudo_labels.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_what_is_surely_of_a_class_is_trained_on(teacher, apart, tmp_path, monkeypatch):
    """Here the teacher knows every second image, and of the others nothing."""
    data, others = apart
    shutil.copy(next((data / "test").rglob("*.jpg")), others / "test-copy.jpg")
    (others / "broken.png").write_bytes(b"no image")

    def taught(training, loader, device):
        names = [path.name.partition("-")[0] for path in training.unlabelled]
        own = np.array([training.dataset.classes.index(name) for name in names])
        return 5.0 * np.eye(len(training.dataset.classes))[own] * (np.arange(len(own)) % 2)[:, None]

    monkeypatch.setattr(unlabelled, "_taught", taught)
    heard: list[str] = []
    options = tiny(data, tmp_path / "run", epochs=1, teacher=str(teacher.folder), unlabelled=str(others))
    run = train(options, say=heard.append)
    rows, said = kept(run), "\n".join(heard)
    files = sorted(path for path in others.iterdir() if path.name not in ("test-copy.jpg", "broken.png"))
    assert (
        f"others: {len(files)} images without labels; 1 image left out, the same as others or as images of the data."
        in said
    )
    assert f"Of {len(files)} images without labels {len(rows)} get one" in said
    assert [row["path"] for row in rows] == [str(path) for path in files[1::2]]
    assert all(row["path"].rpartition("/")[2].startswith(f"{row['class']}-") for row in rows)
    parts = [line.split(",")[2] for line in run.split.read_text().splitlines()]
    steps = re.search(r"Training \S+ for 1 epoch of (\d+) steps", said)
    assert int(steps[1]) == math.ceil((parts.count("train") + len(rows)) / 8)


def test_a_training_goes_on_with_the_labels_that_were_given(teacher, apart, tmp_path, monkeypatch):
    data, others = apart
    monkeypatch.setattr(unlabelled, "SURE", 0.25)  # which the teacher, of a few steps, is of most
    more = {"teacher": str(teacher.folder), "unlabelled": str(others)}
    whole = train(tiny(data, tmp_path / "whole", **more))
    train_interrupted(tiny(data, tmp_path / "broken", **more), monkeypatch)
    monkeypatch.setattr(unlabelled, "_answers", None)  # they are not asked for again
    shutil.copytree(tmp_path / "broken", tmp_path / "lost")
    again = train(TrainOptions(resume=str(tmp_path / "broken")))
    assert len(kept(whole)) > 5 and np.mean([row["class"] in row["path"] for row in kept(whole)]) > 0.4
    assert again.pseudo_labels.read_bytes() == whole.pseudo_labels.read_bytes()
    assert again.weights.read_bytes() == whole.weights.read_bytes()
    shutil.copytree(tmp_path / "lost", tmp_path / "fewer")
    (tmp_path / "lost" / "pseudo_labels.csv").unlink()
    with pytest.raises(UserError, match="pseudo_labels.csv is missing, so what was trained on is not known"):
        train(TrainOptions(resume=str(tmp_path / "lost")))
    Path(kept(whole)[0]["path"]).unlink()
    others.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="--unlabelled is for one process"):  # the others would have fewer images
        train(TrainOptions(resume=str(tmp_path / "fewer"), devices=2))
    heard: list[str] = []
    train(TrainOptions(resume=str(tmp_path / "fewer")), say=heard.append)
    assert f"Warning: {len(kept(whole))} images without labels are not there any more." in heard


def test_a_head_gives_labels_that_know_nothing_of_validation(apart, tmp_path, monkeypatch):
    """A head that was fitted on them gave a network that had 94 % of them right, and 73 % of others."""
    data, others = apart
    fitted = []
    fit = unlabelled.fit_linear_head
    monkeypatch.setattr(unlabelled, "fit_linear_head", lambda x, *how: fitted.append(x) or fit(x, *how))
    monkeypatch.setattr(unlabelled, "SURE", 0.2)
    options = tiny(data, tmp_path / "run", epochs=1, fit_head=True, unlabelled=str(others))
    run = train(options)
    parts = [line.split(",")[2] for line in run.split.read_text().splitlines()]
    assert [len(x.labels) for x in fitted] == [parts.count("train")] and "val" in parts
    assert kept(run)


def test_the_epochs_follow_the_images_that_got_a_label(teacher, apart, tmp_path, monkeypatch):
    """Unless they are given; here by a rule that few images will do for."""
    data, others = apart
    real = unlabelled.resolve

    def by_ten(options, dataset, model, unlabelled):
        assert options.lr is None
        known = real(options, dataset, model, unlabelled=unlabelled)
        return replace(known, epochs=len(dataset.train) // 10 - unlabelled // 30) if options.epochs is None else known

    monkeypatch.setattr(unlabelled, "resolve", by_ten)
    for sure, given, epochs in ((0.0, None, 1), (1.1, None, 2), (0.0, 3, 3)):
        monkeypatch.setattr(unlabelled, "SURE", sure)
        more = {"teacher": str(teacher.folder), "unlabelled": str(others), "epochs": given, "lr": None}
        run = train(tiny(data, tmp_path / f"{sure}-{given}", **more))
        assert run.options(TrainOptions).epochs == epochs
        assert len(run.history.read_text().splitlines()) == 1 + epochs


def test_what_looks_like_no_class_gets_no_label(teacher, apart, tmp_path, monkeypatch):
    data, others = apart
    strange = sorted(others.iterdir())[:4]

    def known(features, dataset):  # of networks that have learnt something it is tested beside them
        return lambda x: torch.cat([torch.full((4,), 0.04), torch.full((len(x) - 4,), 0.06)])

    monkeypatch.setattr(unlabelled, "known_by", known)
    monkeypatch.setattr(unlabelled, "SURE", 1e-6)
    more = {"teacher": str(teacher.folder), "unlabelled": str(others), "fit_head": True, "epochs": 1}
    run = train(tiny(data, tmp_path / "run", **more))
    assert {row["path"] for row in kept(run)} == {str(path) for path in set(others.iterdir()) - set(strange)}


def test_what_cannot_be_learnt_from(teacher, colours, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "no.txt").touch()
    (tmp_path / "more").mkdir()
    Image.new("RGB", (40, 40), "teal").save(tmp_path / "more" / "one.png")
    small = ["--weights", "none", "--backbone", "mobilenetv3_small_050", "--image-size", "32", "--workers", "0"]
    taught = ["--teacher", str(teacher.folder)]
    for words, says in (
        (["--unlabelled", str(tmp_path / "nowhere"), *taught], "nowhere is no folder"),
        (["--unlabelled", str(tmp_path / "no.txt"), *taught], "no.txt is no folder"),
        (["--unlabelled", str(tmp_path / "empty"), *taught], "holds no images"),
        (["--unlabelled", str(colours), *taught], "has no usable image that the data does not have"),
        (
            ["--unlabelled", str(tmp_path / "more")],
            "takes labels from a head that is fitted first, or from a --teacher",
        ),
        (["--unlabelled", str(tmp_path / "more"), "--epochs", "0"], "--unlabelled is for fine-tuning"),
    ):
        output = tmp_path / "run"
        assert main(["classify", "train", str(colours), *small, "--output", str(output), *words]) == 2
        error = capsys.readouterr().err
        assert says in error and error.count("\n") == 1, error
        assert not output.exists()


def test_several_labels_are_refused(tmp_path):
    make_folder(tmp_path / "more", {"a": 2})
    folder = make_folder(tmp_path / "images", {"a": 20})
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg"))
    rows = "".join(f"{name},{('x', 'y', 'x;y')[i % 3]}\n" for i, name in enumerate(files))
    (folder / "m.csv").write_text("path,labels\n" + rows)
    with pytest.raises(UserError, match="--unlabelled is for one class an image"):
        train(tiny(folder / "m.csv", tmp_path / "run", unlabelled=str(tmp_path / "more")))
