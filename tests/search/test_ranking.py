import math

import numpy as np
import pytest
import torch

from mixtransfer.search.ranking import Predictor, rank_correlation, reliability
from mixtransfer.search.scoring import Scorer
from mixtransfer.search.space import Space

SPACE = Space.of_width(0.3, 32, 5)


@pytest.mark.parametrize("noise", [0.0, 0.3, 0.7, 1.5])
def test_reliability_is_what_another_set_of_images_would_repeat(noise):
    """Against the ranking of another set of images, among those that the first one calls the better half."""
    generator = np.random.default_rng(1)
    said, repeated = [], []
    for _ in range(20):
        true = generator.normal(size=(400, 1))
        thirds = true + noise * 3**0.5 * generator.normal(size=(400, 3))
        again = true + noise * 3**0.5 * generator.normal(size=(400, 3))
        better = thirds[:, 2] <= np.median(thirds[:, 2])
        said.append(reliability(thirds.tolist()))
        repeated.append(rank_correlation(thirds.mean(1)[better], again.mean(1)[better]))
    assert np.mean(said) == pytest.approx(np.mean(repeated), abs=0.07)


def test_few_networks_tell_nothing():
    assert reliability([(1.0, 1.0, 1.0)] * 5) is None and reliability([]) is None


def test_a_third_without_images_tells_nothing():
    assert reliability([(1.0 + i, 2.0 + i, math.nan) for i in range(50)]) is None


def test_the_predictor_learns_what_matters():
    generator = np.random.default_rng(0)
    drawn = [SPACE.sample(generator) for _ in range(150)]
    losses = [2 - 0.01 * one["stage3.channels"] - 0.1 * one["stage2.depth"] for one in drawn]
    predict = Predictor(SPACE, drawn[:100], losses[:100])
    assert predict.rho > 0.9 and rank_correlation(predict(drawn[100:]), losses[100:]) > 0.9
    assert abs(Predictor(SPACE, drawn[:100], list(generator.normal(size=100))).rho or 0) < 0.4


class Answers(torch.nn.Module):
    """Says of each image what is written into it."""

    def forward(self, images):
        return images[:, 0, :, 0]


def test_a_score_is_mean_loss_with_its_error_and_its_thirds():
    logits = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(9) % 3
    scorer = Scorer.__new__(Scorer)
    scorer.device, scorer.normalize, scorer.labels = torch.device("cpu"), torch.nn.Identity(), labels
    scorer.validation = logits[:, None, :, None].expand(9, 3, 3, 3)
    losses = -logits.log_softmax(1)[torch.arange(9), labels].double()
    score = scorer.score(Answers())
    assert score.loss == pytest.approx(losses.mean().item())
    assert score.error == pytest.approx(losses.std().item() / 3)
    assert score.thirds == pytest.approx([losses[start::3].mean().item() for start in range(3)])
    assert score.top1 == pytest.approx((logits.argmax(1) == labels).double().mean().item())


@pytest.mark.parametrize("images", [1, 255, 256, 257, 600])
def test_every_batch_counts_alike(images):
    """In the statistics of batch norms a small last batch would count as much as a whole one."""
    scorer = Scorer.__new__(Scorer)
    scorer.device, scorer.normalize = torch.device("cpu"), torch.nn.Identity()
    sizes = [len(part) for part in scorer._inputs(torch.zeros(images, 1))]
    assert sum(sizes) == images and max(sizes) <= 256 and max(sizes) - min(sizes) <= 1
