"""What is chosen of a training: the head alone, folds, mixtures, the temperature, when to stop."""

import csv
import math
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from processes import Command, words_of
from tiny import tiny

from mixtransfer.backbones import create_backbone
from mixtransfer.classification import folds, stages, training
from mixtransfer.classification.datamodule import ImageDataModule
from mixtransfer.classification.evaluate import evaluate
from mixtransfer.classification.folds import (
    Choice,
    images_an_epoch,
    is_folded,
    judge_fine_tuning,
    mirrors,
    set_head,
    with_parts,
)
from mixtransfer.classification.head import STRENGTHS, choose_strength, fit_linear_head, pooled_features
from mixtransfer.classification.metrics import Predictions
from mixtransfer.classification.model import open_classifier
from mixtransfer.classification.module import ImageClassifier
from mixtransfer.classification.options import EvaluateOptions, TrainOptions
from mixtransfer.classification.recipe import Recipe
from mixtransfer.classification.selection import HEAD, SHARES, head_folds, judge
from mixtransfer.classification.train import train
from mixtransfer.classification.trainer import fit_aside, predict_examples
from mixtransfer.data.augment import Augment
from mixtransfer.data.dataset import Examples, ImageDataset
from mixtransfer.data.preprocessing import Preprocessing
from mixtransfer.errors import Interrupted, UserError
from mixtransfer.runs.run_data import images_of_run

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def head_alone(colours, finished, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "head"
    return train(tiny(colours, output, weights=str(finished.weights), epochs=0, augment="crop"))


def test_no_epochs_leave_the_regression_on_all_images_at_the_temperature_of_folds(head_alone):
    """The head is scikit-learn's on training and validation images, divided by what calibrates it out of fold."""
    trained, dataset = open_classifier(head_alone.folder), images_of_run(head_alone)
    module = ImageClassifier(trained.model, trained.preprocessing)
    both = dataset.train.joined(dataset.val)
    loader = ImageDataModule(dataset, trained.preprocessing, None, workers=0).evaluation_loader(both)
    features = pooled_features(module.model, module.normalize, loader, CPU, flip=False, title="")
    found = trained.model.get_classifier().weight.detach().numpy()
    chosen = choose_strength(features, head_folds(dataset))
    expected = fit_linear_head(features, chosen.value).weight / judge(chosen.judged).temperature
    np.testing.assert_allclose(found, expected, rtol=0.02, atol=0.02 * np.abs(expected).max())
    alone = fit_linear_head(features[np.arange(len(dataset.train))], chosen.value).weight
    assert np.linalg.norm(found - expected) < 0.1 * np.linalg.norm(
        alone - fit_linear_head(features, chosen.value).weight
    )
    metrics = head_alone.read_metrics()
    right = (chosen.judged.predicted == chosen.judged.labels).mean()
    assert metrics["validation"]["top1"] == {"value": right, "low": None, "high": None, "selected_on": True}
    assert metrics["training"]["fine_tuned_share"] == 0 and chosen.value in STRENGTHS


def test_no_epochs_from_scratch_are_refused(colours, tmp_path):
    with pytest.raises(UserError, match="--epochs 0 keeps the head"):
        train(tiny(colours, tmp_path / "r", epochs=0))


def session(dataset: ImageDataset, **changes) -> tuple[ImageClassifier, ImageDataModule, TrainOptions]:
    """A network of random weights, its loaders and options, ready for ``set_head``."""
    from mixtransfer.classification.defaults import resolve

    torch.manual_seed(0)
    model = create_backbone("mobilenetv3_small_050", "none", num_classes=len(dataset.classes))
    options = tiny("", "", fit_head=True, precision="32", devices=1, **{"augment": "none", **changes})
    options = resolve(options, dataset, model)
    preprocessing = Preprocessing.of(model, options.image_size)
    augment = Augment(options.augment, preprocessing.size)
    data = ImageDataModule(dataset, preprocessing, augment, options.batch_size, 0, 0)
    return ImageClassifier(model, preprocessing, Recipe.of(options)), data, options


def quilts(images: int, seed: int = 0) -> Examples:
    """Four patches of colours drawn at random, which have nothing to do with the two classes."""
    patches = np.random.default_rng(seed).integers(0, 256, (images, 2, 2, 3), dtype=np.uint8)
    return Examples(patches.repeat(16, axis=1).repeat(16, axis=2), np.arange(images) % 2)


def test_the_head_is_fitted_on_mirror_images_where_training_sees_them():
    dataset = ImageDataset("quilts", ["a", "b"], quilts(12), quilts(4, 1), quilts(4, 2))
    module, data, options = session(dataset, augment="crop-flip")
    head = set_head(module, data, CPU, mirrors(options))
    both = dataset.train.joined(dataset.val)
    mirror = Examples(np.ascontiguousarray(both.images[:, :, ::-1]), both.labels)
    expected = pooled_features(module.model, module.normalize, data.evaluation_loader(mirror), CPU, False, "")
    np.testing.assert_allclose(head.features.mirrored, expected.x, atol=1e-3)
    module, data, options = session(dataset, augment="crop")
    assert set_head(module, data, CPU, mirrors(options)).features.mirrored is None


def test_no_image_is_judged_by_a_network_that_was_trained_on_it():
    """Labels that mean nothing can be learnt by heart only: who saw them knows them, who judges them does not."""
    dataset = ImageDataset("quilts", ["a", "b"], quilts(40), quilts(8, 1), quilts(4, 2))
    module, data, options = session(dataset, epochs=40, lr=2e-3, layer_decay=1.0, ema=False, label_smoothing=0.0)
    head = set_head(module, data, CPU, mirrors(options))
    before = {name: value.clone() for name, value in module.model.state_dict().items()}
    judge_fine_tuning(module, data, options, head, keep=lambda: None)
    said = head.evidence.predictions
    assert sorted(said) == list(SHARES)
    assert all((predictions.labels == said[0.0].labels).all() for predictions in said.values())
    assert all((predictions.predicted == predictions.labels).mean() < 0.7 for predictions in said.values())
    assert all(torch.equal(value, before[name]) for name, value in module.model.state_dict().items())
    both = dataset.train.joined(dataset.val)
    trainer = fit_aside(module, with_parts(data, both, dataset.val), options)
    seen = predict_examples(trainer, module, data, both)
    assert (seen.predicted == seen.labels).mean() > 0.85


def test_folds_begin_with_their_own_heads():
    """Fine-tuning that does nothing leaves what the heads say out of fold."""
    dataset = ImageDataset("quilts", ["a", "b"], quilts(20), quilts(4, 1), quilts(4, 2))
    module, data, options = session(dataset, epochs=1, lr=1e-12, ema=False, batch_norm="frozen")
    head = set_head(module, data, CPU, mirrors(options))
    judge_fine_tuning(module, data, options, head, keep=lambda: None)
    said = head.evidence.predictions
    for share in SHARES:
        np.testing.assert_allclose(said[share].probabilities, said[0.0].probabilities, atol=2e-3)


def test_an_epoch_counts_the_images_of_its_folds(monkeypatch):
    """What a training takes, for those who divide up an hour, is what its folds and its end are trained on."""
    dataset = ImageDataset("quilts", ["a", "b"], quilts(26), quilts(4, 1), quilts(4, 2))
    module, data, options = session(dataset, epochs=1, lr=1e-12, ema=False)
    trained = []
    monkeypatch.setattr(folds, "fit_aside", lambda module, data, options: trained.append(len(data.dataset.train)))
    monkeypatch.setattr(folds, "predict_examples", lambda trainer, module, data, own: Predictions(
        np.full((len(own), 2), 0.5), own.labels
    ))  # fmt: skip
    judge_fine_tuning(module, data, options, set_head(module, data, CPU, mirrors(options)), keep=lambda: None)
    assert images_an_epoch(options, dataset) == sum(trained) + 30
    assert images_an_epoch(replace(options, patience=1), dataset) == 26


@pytest.fixture(scope="module")
def stripes(tmp_path_factory):
    """60 images of stripes that stand or lie, which weights for colours do not tell apart."""
    root, generator = tmp_path_factory.mktemp("stripes") / "stripes", np.random.default_rng(0)
    for i in range(60):
        stripes = np.where(np.arange(32) % 8 < 4, 200, 60)[:, None] + generator.normal(0, 30, (32, 32))
        (root / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        pixels = stripes if i % 2 else stripes.T
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / "ab"[i % 2] / f"{i}.png")
    return root


def test_a_training_that_is_killed_between_folds_and_epochs_comes_to_the_same_end(stripes, finished, tmp_path):
    options = dict(weights=str(finished.weights), lr=2e-3, augment="none", batch_size=4)
    said = []
    whole = train(tiny(stripes, tmp_path / "whole", **options), say=said.append)
    assert any("Fine-tuning takes about" in line and "--epochs 0 ends here" in line for line in said)
    dataset = images_of_run(whole)  # in the end all images that folds were made of are trained on
    every, some = ((len(dataset.train) + own) / 4 for own in (len(dataset.val), 0))
    assert math.ceil(every) > math.ceil(some) and any(f" of {math.ceil(every)} steps" in line for line in said)
    assert whole.read_metrics()["training"]["fine_tuned_share"] > 0
    output = tmp_path / "killed"
    command = Command("classify", "train", *words_of(tiny(stripes, output, **options)))
    for line in ("Fine-tuning is judged out of fold first", "Epoch 2/"):
        command.wait_for(line)
        os.kill(command.process.pid, signal.SIGKILL)
        command.end()
        command = Command("classify", "train", "--resume", output)
    assert command.end() == 0, command.errors
    weights, expected = (safetensors.torch.load_file(f / "model.safetensors") for f in (output, whole.folder))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    with (whole.folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert all(bool(row["val_loss"]) == (row["epoch"] == "0") for row in rows)  # the images are trained on


def test_patience_keeps_the_epoch_before_it_ran_out(colours, tmp_path):
    options = tiny(colours, tmp_path / "r", epochs=40, lr=0.003, patience=2, ema=False, warmup_epochs=0.0)
    said = []
    run = train(options, say=said.append)
    with (run.folder / "metrics.csv").open() as file:
        rows = {int(row["epoch"]): row for row in csv.DictReader(file)}
    kept = run.read_metrics()["training"]["kept_epoch"]
    assert kept == max(rows) - 2 < 38
    assert any(f"Of {max(rows)} epochs the weights of epoch {kept} are kept" in line for line in said)
    scored = evaluate(EvaluateOptions(str(run.folder), split="val", workers=0), say=lambda _: None).scores["top1"]
    assert scored.value == pytest.approx(float(rows[kept]["val_top1"]), abs=1e-5)


def test_a_score_on_images_that_chose_something_is_said_to_be_one(finished, colours):
    said = []
    evaluate(EvaluateOptions(str(finished.folder), split="val", workers=0), say=said.append)
    assert any("were chosen on these images" in sentence for sentence in said)
    said.clear()
    evaluate(EvaluateOptions(str(finished.folder), workers=0), say=said.append)
    assert not any("Warning" in sentence for sentence in said)


def test_folds_that_are_done_are_not_done_again():
    dataset = ImageDataset("quilts", ["a", "b"], quilts(26), quilts(4, 1), quilts(4, 2))

    def judged(interrupted: bool) -> tuple[dict, int]:
        module, data, options = session(dataset, epochs=2, lr=1e-3)
        head = set_head(module, data, CPU, mirrors(options))
        kept, trainings = [], []

        def keep() -> None:
            kept.append(None)
            if interrupted and len(kept) == 1:
                raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(folds, "fit_aside", lambda *args: trainings.append(None) or fit_aside(*args))
            if interrupted:
                with pytest.raises(KeyboardInterrupt):
                    judge_fine_tuning(module, data, options, head, keep)
                module, data, options = session(dataset, epochs=2, lr=1e-3)
                head = replace(set_head(module, data, CPU, mirrors(options)), evidence=head.evidence)
            judge_fine_tuning(module, data, options, head, keep)
        assert head.evidence.is_of_fine_tuning and head.evidence.seconds > 0
        return head.evidence.predictions, len(trainings)

    (whole, times), (resumed, times_resumed) = judged(False), judged(True)
    assert times == times_resumed == 3
    for share in SHARES:
        np.testing.assert_allclose(resumed[share].probabilities, whole[share].probabilities, atol=1e-6)


@pytest.fixture
def begun(stripes, finished, tmp_path, monkeypatch):
    """Begins a training, interrupts it in its body, and goes on, where so many images are few before and after."""

    def begin(few_before: int, few_after: int, **changes):
        options = tiny(stripes, tmp_path / "r", weights=str(finished.weights), augment="none", lr=2e-3, batch_size=4)

        def interrupt(sentence: str) -> None:
            if sentence.startswith("Epoch 2/"):
                raise KeyboardInterrupt

        monkeypatch.setattr(folds, "FEW", few_before)
        with pytest.raises(Interrupted):
            train(options, say=interrupt)
        monkeypatch.setattr(folds, "FEW", few_after)
        return train(TrainOptions(resume=options.output, **changes), say=lambda _: None)

    return begin


def test_a_training_stays_judged_in_folds_or_not(begun, monkeypatch):
    """Whatever has become of the number of images, or of processes, since it began."""
    run = begun(300, 10)
    dataset = images_of_run(run)
    assert run.read_metrics()["training"]["validation_images"] == len(dataset.train) + len(dataset.val)
    seconds = sum(float(row["seconds"] or 0) for row in csv.DictReader((run.folder / "metrics.csv").open()))
    assert run.read_metrics()["training"]["seconds"] > seconds + 0.1  # with the folds'


def test_what_was_validated_stays_unseen(begun):
    run = begun(10, 300)
    assert run.read_metrics()["training"]["validation_images"] == len(images_of_run(run).val)


def test_several_processes_do_not_go_on_with_folds(begun, monkeypatch):
    monkeypatch.setattr(training, "processes", lambda options: 2)
    with pytest.raises(UserError, match="go on with --devices 1"):
        begun(300, 300)


def test_a_head_that_stays_is_validated_on_the_same_images_as_others(colours, finished, tmp_path, monkeypatch):
    monkeypatch.setattr(folds, "FEW", 10)
    monkeypatch.setattr(stages, "choose", lambda *_: Choice(HEAD, 1.0))
    options = tiny(colours, tmp_path / "r", weights=str(finished.weights), epochs=1)
    run = train(options, say=lambda _: None)
    metrics = run.read_metrics()["training"]
    assert metrics["fine_tuned_share"] == 0 and metrics["validation_images"] <= len(images_of_run(run).val)


@pytest.mark.parametrize(("images", "folded"), [(300, True), (301, False)])
def test_up_to_300_images_are_few(images, folded):
    dataset = ImageDataset("quilts", ["a", "b"], quilts(images - 20), quilts(20, 1), quilts(4, 2))
    options = tiny("", "", fit_head=True, devices=1)
    assert is_folded(options, dataset) is folded
    assert not is_folded(replace(options, patience=1), dataset) and not is_folded(replace(options, devices=2), dataset)
