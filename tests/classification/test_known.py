"""How known images look: the measure against closed forms, and what is said of images by it."""

import csv
import io
import json
import shutil

import numpy as np
import pytest
import torch
from sklearn.covariance import empirical_covariance, shrunk_covariance
from torch import nn

import mixtransfer as mt
from mixtransfer.classification import known_fit
from mixtransfer.classification.head import Features, pooled_features
from mixtransfer.classification.known import DIRECTIONS, KnownScore
from mixtransfer.classification.known_fit import fit_known_score, learn_known
from mixtransfer.commandline.cli import main
from mixtransfer.errors import UserError


@pytest.fixture
def random():
    return np.random.default_rng(0)


def features_of(random, classes=3, each=50, channels=6) -> Features:
    labels = np.repeat(np.arange(classes), each)
    centres = 3 * random.standard_normal((classes, channels))
    mixing = random.standard_normal((channels, channels))
    x = centres[labels] + random.standard_normal((len(labels), channels)) @ mixing
    return Features(x.astype(np.float32), labels)


@pytest.mark.parametrize("channels", [6, 100])  # fewer and more than axes that are kept
def test_distance_is_the_relative_mahalanobis_distance(random, channels):
    features = features_of(random, channels=channels)
    new = random.standard_normal((20, channels)).astype(np.float32)
    score = fit_known_score(features, 3, features.x[:10])
    x, z = (values / np.linalg.norm(values, axis=1, keepdims=True) for values in (features.x, new))
    means = np.stack([x[features.labels == label].mean(0) for label in range(3)])

    def squared(centred, differences):
        covariance = empirical_covariance(centred, assume_centered=True)
        if channels > DIRECTIONS:  # along all other axes the variance is their mean
            values, axes = np.linalg.eigh(covariance)
            values[:-DIRECTIONS] = values[:-DIRECTIONS].mean()
            covariance = axes * values @ axes.T
        covariance = shrunk_covariance(covariance, known_fit.SHRINKAGE)
        return np.einsum("ij,jk,ik->i", differences, np.linalg.inv(covariance), differences)

    within = np.stack([squared(x - means[features.labels], z - mean) for mean in means])
    expected = squared(x - x.mean(0), z - x.mean(0)) - within.min(0)
    found = score.distance(torch.from_numpy(new)).numpy()
    np.testing.assert_allclose(found * (expected.std() / found.std()), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("count", [200, 40, 19])
def test_of_new_images_of_the_classes_few_are_refused(random, count):
    """As many as promised, 5 %, whatever the number of images to validate on: mean over many draws."""
    refused = []
    for seed in range(60):
        draw = np.random.default_rng(seed)
        every = features_of(draw, each=500)
        order = draw.permutation(len(every.labels))
        train, held, new = order[:300], order[300 : 300 + count], order[700:]
        score = fit_known_score(every[train], 3, every.x[held])
        refused.append(float((score(torch.from_numpy(every.x[new])) < 0.05).float().mean()))
    assert 0.03 < np.mean(refused) < 0.075


def test_shares_rise_from_0_to_1_with_the_distance(random):
    features = features_of(random)
    score = fit_known_score(features, 3, features.x[::3])
    x = torch.from_numpy(np.concatenate([features.x, -features.x]))
    order = score.distance(x).argsort()
    shares = score(x)[order]
    assert shares.diff().min() > -1e-6 and float(shares.min()) == 0 and float(shares.max()) == 1
    assert float(score(torch.from_numpy(features.x[::3])).median()) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("each", [1, 2])
def test_one_image_a_class_is_enough(each, random, recwarn):
    features = features_of(random, each=each)
    score = fit_known_score(features, 3, features.x)
    assert torch.isfinite(score(torch.from_numpy(features.x))).all() and not recwarn.list


def test_equal_images_to_validate_on(random):
    features = features_of(random)
    score = fit_known_score(features, 3, np.repeat(features.x[:1], 9, axis=0))
    assert torch.isfinite(score(torch.from_numpy(features.x))).all()


def test_of_many_images_each_class_gives_as_many(finished, monkeypatch):
    """A class of few images keeps them all."""
    from mixtransfer.classification.datamodule import EvaluationData
    from mixtransfer.classification.model import open_classifier
    from mixtransfer.classification.module import ImageClassifier
    from mixtransfer.runs.run_data import images_of_run

    seen = []
    monkeypatch.setattr(known_fit, "MOST_IMAGES", 12)
    monkeypatch.setattr(known_fit, "fit_known_score", lambda features, classes, held: seen.append((features, held)))
    dataset, trained = images_of_run(finished), open_classifier(finished.folder)
    module = ImageClassifier(trained.model, trained.preprocessing)
    data = EvaluationData(trained.preprocessing, 8, 0)
    learn_known(module.model, module.normalize, data, dataset, torch.device("cpu"))
    ((features, held),) = seen
    assert np.bincount(features.labels).tolist() == [2] * 6 and len(held) == len(dataset.val)
    both = dataset.train.joined(dataset.val)
    known_fit.known_by(pooled_features(module.model, module.normalize, data.evaluation_loader(both),
                                       torch.device("cpu"), False, ""), dataset)  # fmt: skip
    for one, other in zip(seen[0], seen[1], strict=True):  # the same images, where all features are there
        one, other = (getattr(part, "x", part) for part in (one, other))
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """Pictures that are of none of the classes, which are colours."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("noise")
    for seed in range(3):
        pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed}.png")
    return folder


def test_a_training_tells_known_images_from_noise(finished, colours, noise):
    model = mt.load(finished.folder)
    known = model.predict(sorted((colours / "test").rglob("*.jpg")))
    unknown = model.predict(sorted(noise.iterdir()))
    assert all(0 <= answer.known <= 1 for answer in known + unknown)
    assert np.mean([answer.unknown for answer in known]) <= 0.25 and all(answer.unknown for answer in unknown)
    assert "unknown" in repr(unknown[0]) and unknown[0].to_dict()["known"] == unknown[0].known


def test_probabilities_are_those_without_the_measure(finished, colours, tmp_path):
    plain = shutil.copytree(finished.folder, tmp_path / "plain")
    (plain / "known.safetensors").unlink()
    images = sorted((colours / "test").rglob("*.jpg"))[::7]
    for ours, other in zip(mt.load(finished.folder).predict(images), mt.load(plain).predict(images), strict=True):
        np.testing.assert_allclose(ours.probabilities, other.probabilities, atol=1e-5)
        assert other.known is None and not other.unknown and "known" not in other.to_dict()


def test_the_features_of_the_fitted_head_are_those_of_the_kept_network(colours, tmp_path, monkeypatch):
    """They are not computed twice, and the measure is the same as if they were."""
    from tiny import tiny

    from mixtransfer.classification import stages
    from mixtransfer.classification.train import train

    options = tiny(colours, tmp_path / "one", epochs=0, fit_head=True)
    one = train(options)
    real = stages.learn_known
    monkeypatch.setattr(stages, "known_by", lambda *_: real(*given))
    given = []
    selected = stages.known_score

    def counted(training, chosen, head):
        given[:] = [
            training.module.model, training.module.normalize, training.data, training.dataset, torch.device("cpu"),
        ]  # fmt: skip
        return selected(training, chosen, head)

    monkeypatch.setattr("mixtransfer.classification.train.known_score", counted)
    other = train(tiny(colours, tmp_path / "other", epochs=0, fit_head=True))
    images = sorted((colours / "test").rglob("*.jpg"))[::5]
    for a, b in zip(mt.load(one).predict(images), mt.load(other).predict(images), strict=True):
        assert a.known == pytest.approx(b.known, abs=0.02)


def test_what_predict_prints(finished, noise, colours, capsys):
    one = str(next((colours / "test" / "dog").iterdir()))
    words = ["classify", "predict", str(finished.folder), str(noise), one, "--unknown", "--top", "2"]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("unknown (as if it were" in line for line in lines) == 3 and len(lines) == 4
    assert main([*words, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["unknown"] for row in rows] == [True, True, True, rows[3]["known"] < 0.05]
    assert main([*words, "--format", "csv"]) == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [float(row["known"]) for row in table[::2]] == [row["known"] for row in rows]
    assert main([*words[:-3], "--json"]) == 0  # without --unknown the share is there, the verdict not
    assert all(set(json.loads(line)) == {"path", "top", "known"} for line in capsys.readouterr().out.splitlines())


def test_a_run_without_the_measure_says_so(finished, colours, tmp_path, capsys):
    plain = shutil.copytree(finished.folder, tmp_path / "plain")
    (plain / "known.safetensors").unlink()
    image = str(next((colours / "test" / "dog").iterdir()))
    assert main(["classify", "predict", str(plain), image, "--unknown"]) == 2
    assert main(["export", str(plain), "--known"]) == 2
    assert capsys.readouterr().err.count("keeps no measure of how known images look") == 2


def test_a_damaged_measure_is_named(finished, tmp_path):
    other = shutil.copytree(finished.folder, tmp_path / "other")
    (other / "known.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="known.safetensors is damaged"):
        mt.load(other)
    KnownScore(6, 7).write(other / "known.safetensors")
    with pytest.raises(UserError, match="of another network"):
        mt.load(other)


def test_a_network_without_a_linear_head_keeps_none():
    class Odd(nn.Module):
        num_classes = 2

        def __init__(self):
            super().__init__()
            self.head = nn.Conv2d(3, 2, 1)

        def forward(self, x):
            return self.head(x).mean((2, 3))

    class Data:
        class preprocessing:
            size = 8

    class Dataset:
        val = [0]

    assert learn_known(Odd(), nn.Identity(), Data, Dataset, torch.device("cpu")) is None
