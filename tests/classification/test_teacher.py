"""Learning from a larger network's answers."""

import re
import shutil

import lightning as L
import numpy as np
import pytest
import torch
from folders import make_folder
from tiny import tiny, train_interrupted
from torch import nn
from torch.nn import functional as F

from mixtransfer.backbones import create_backbone
from mixtransfer.classification.datamodule import ImageDataModule
from mixtransfer.classification.loss import TEMPERATURE, training_losses
from mixtransfer.classification.model import open_classifier
from mixtransfer.classification.module import ImageClassifier
from mixtransfer.classification.options import TrainOptions
from mixtransfer.classification.recipe import Recipe
from mixtransfer.classification.teacher import Teacher
from mixtransfer.classification.train import train
from mixtransfer.commandline.cli import main
from mixtransfer.data.preprocessing import Normalize, Preprocessing
from mixtransfer.errors import UserError


@pytest.fixture
def answers():
    generator = torch.Generator().manual_seed(0)
    own, taught = torch.randn((2, 5, 3), generator=generator) * 3
    return own, taught, torch.tensor([0, 1, 2, 1, 0])


def test_the_loss_is_that_of_both(answers):
    """By its definition, in NumPy."""
    own, taught, labels = answers
    recipe = Recipe(label_smoothing=0.0, teacher_weight=0.3)

    def softmax(logits):
        e = np.exp(logits - logits.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    p, q = (softmax(one.double().numpy() / TEMPERATURE) for one in (taught, own))
    divergence = TEMPERATURE**2 * (p * np.log(p / q)).sum(1)
    hard = -np.log(softmax(own.double().numpy()))[np.arange(5), labels]
    found = training_losses(own, labels, recipe, taught=taught).numpy()
    np.testing.assert_allclose(found, 0.7 * hard + 0.3 * divergence, rtol=1e-5)
    weighed = training_losses(own, labels, recipe, torch.tensor([1.0, 2.0, 3.0]), taught).numpy()
    np.testing.assert_allclose(weighed, found * np.array([1, 2, 3, 2, 1]), rtol=1e-6)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_the_ends_of_the_weight(answers, weight):
    own, taught, labels = answers
    recipe = Recipe(teacher_weight=weight)
    alone = F.cross_entropy(own, labels, label_smoothing=recipe.label_smoothing, reduction="none")
    found = training_losses(own, labels, recipe, taught=taught)
    if weight:
        assert float(training_losses(own, labels, recipe, taught=own).abs().max()) < 1e-5
        assert not torch.allclose(found, alone)
    else:
        torch.testing.assert_close(found, alone)


@pytest.mark.parametrize("size", [32, 48])
def test_a_teacher_sees_what_its_student_sees(size):
    """Normalised and scaled as it wants it; its classes in the student's order."""
    torch.manual_seed(0)
    model = create_backbone("mobilenetv3_small_050", "none", 3)
    own = Preprocessing(size, 1.0, "bilinear", (0.5,) * 3, (0.5,) * 3)
    student = Preprocessing(32, 1.0, "bilinear", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    pixels = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    seen = pixels.float()
    if size != 32:
        seen = F.interpolate(seen, (size, size), mode="bilinear")
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (own.mean, own.std))
    with torch.inference_mode():
        expected = model.eval()((seen / 255 - mean) / std)[:, [2, 0, 1]]
        found = Teacher(model, own, [2, 0, 1]).logits(Normalize(student)(pixels), student)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


@pytest.fixture(scope="module")
def teacher(colours, tmp_path_factory):
    """A run on the same data, wider and trained for longer."""
    options = tiny(colours, tmp_path_factory.mktemp("runs") / "teacher", epochs=12, lr=2e-3, mixup=0.0, cutmix=0.0)
    return train(options)


class Stubborn(nn.Module):
    """Takes every image for one class."""

    def __init__(self, label):
        super().__init__()
        self.logits = nn.Parameter(20 * F.one_hot(torch.tensor(label), 6).float())

    def forward(self, images):
        return self.logits.expand(len(images), 6)


@pytest.mark.parametrize("label", [1, 4])
def test_a_student_learns_what_its_teacher_says(label, colours):
    """Whatever the labels are, where the teacher alone counts."""
    torch.manual_seed(0)
    model = create_backbone("mobilenetv3_small_050", "none", 6)
    preprocessing = Preprocessing.of(model, 32)
    teacher = Teacher(Stubborn(label), preprocessing)
    recipe = Recipe(lr=3e-3, teacher_weight=1.0, batch_norm="train", ema=False, layer_decay=1.0)
    module = ImageClassifier(model, preprocessing, recipe, teacher=teacher)
    data = ImageDataModule(str(colours), preprocessing, batch_size=8, workers=0)
    how = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    L.Trainer(max_epochs=2, **how).fit(module, data)
    module.eval()
    images = torch.cat([batch[0] for batch in data.val_dataloader()])
    assert (module(images).argmax(1) == label).float().mean() > 0.8


def test_classes_in_another_order(teacher, colours, tmp_path):
    """Those of a manifest come as they are met."""
    from mixtransfer.classification.teaching import open_teacher
    from mixtransfer.data.load import load_dataset

    dataset = load_dataset(str(colours))
    turned = type(dataset)(**{**vars(dataset), "classes": dataset.classes[::-1]})
    options = tiny(colours, tmp_path, teacher=str(teacher.folder))
    inputs = torch.randn(2, 3, 32, 32)
    one, other = (open_teacher(options, data, print) for data in (dataset, turned))
    student = one.preprocessing
    torch.testing.assert_close(one.logits(inputs, student).flip(1), other.logits(inputs, student))


def test_a_teacher_that_has_seen_the_test_images_is_told(teacher, colours, tmp_path, capsys):
    train(tiny(colours, tmp_path / "one", epochs=1, teacher=str(teacher.folder)))
    told = capsys.readouterr().out
    assert "was trained or validated on" not in told and "The teacher was trained" not in told
    mixed = tmp_path / "mixed"
    shutil.copytree(colours / "train", mixed / "test")
    shutil.copytree(colours / "test", mixed / "train")
    train(tiny(mixed, tmp_path / "two", epochs=1, teacher=str(teacher.folder)))
    assert "was trained or validated on 60 of these 60 images" in capsys.readouterr().out


def test_a_backbone_teaches_with_a_head_that_is_fitted(colours, tmp_path, capsys, monkeypatch):
    """Here with random weights, in the place of published ones."""
    from mixtransfer.classification import teaching

    real = teaching.create_backbone
    monkeypatch.setattr(teaching, "create_backbone", lambda spec, num_classes: real(spec, "none", num_classes))
    train(tiny(colours, tmp_path / "run", epochs=1, teacher="mobilenetv3_small_075"))
    assert re.search(r"The teacher mobilenetv3_small_075, its head fitted, has [\d.]+ % of", capsys.readouterr().out)


def test_what_is_no_teacher(teacher, colours, tmp_path, capsys):
    other = make_folder(tmp_path / "other", {"cat": 12, "mouse": 12})
    run = str(teacher.folder)
    small = ["--weights", "none", "--backbone", "mobilenetv3_small_050", "--image-size", "32", "--workers", "0"]
    for data, words, says in (
        (other, ["--teacher", run], "has other classes than the data"),
        (colours, ["--teacher", str(tmp_path / "nothing")], "is neither a run nor a backbone"),
        (colours, ["--teacher", "resnet5000"], "is neither a run nor a backbone"),
        (colours, ["--teacher", str(tmp_path / "model.onnx")], "is an exported file"),
        (colours, ["--teacher", run, "--teacher-weight", "1.5"], "--teacher-weight is 1.5"),
        (colours, ["--teacher", run, "--epochs", "0"], "leave one of them out"),
        (colours, ["--teacher", "mobilenetv3_small_075", "--devices", "2"], "would be fitted by each process"),
    ):
        output = tmp_path / "run"
        assert main(["classify", "train", str(data), *small, "--output", str(output), *words]) == 2
        error = capsys.readouterr().err
        assert says in error and error.count("\n") == 1, error
        assert not output.exists()
    with pytest.raises(UserError, match="teacher= takes a mixtransfer"):
        ImageClassifier(create_backbone("mobilenetv3_small_050", "none", 2), teacher="resnet50")
    trained = open_classifier(teacher.folder)
    with pytest.raises(UserError, match="The teacher has 6 classes, the network 2"):
        ImageClassifier(
            create_backbone("mobilenetv3_small_050", "none", 2), teacher=Teacher(trained.model, trained.preprocessing)
        )


def test_a_training_with_a_teacher_goes_on(teacher, colours, tmp_path, monkeypatch):
    """To the weights of one that was not interrupted; the teacher is in no checkpoint."""
    from mixtransfer.runs.checkpoint import load_checkpoint

    whole = train(tiny(colours, tmp_path / "whole", teacher=str(teacher.folder)))
    train_interrupted(tiny(colours, tmp_path / "broken", teacher=str(teacher.folder)), monkeypatch)
    state = load_checkpoint(tmp_path / "broken" / "last.ckpt")["state_dict"]
    assert state.keys() == ImageClassifier(open_classifier(whole.folder).model).state_dict().keys()
    again = train(TrainOptions(resume=str(tmp_path / "broken")))
    assert again.weights.read_bytes() == whole.weights.read_bytes()
