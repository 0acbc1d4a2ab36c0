import numpy as np
import pytest
import torch

from mixtransfer.search.ranking import Predictor, rank_correlation, reliability
from mixtransfer.search.scoring import Scorer
from mixtransfer.search.space import Space

SPACE = Space.of_width(0.3, 32, 5)


@pytest.mark.parametrize(("noise", "least", "most"), [(0.0, 0.999, 1.0), (0.3, 0.6, 0.97), (100.0, 0.0, 0.35)])
def test_reliability_is_what_another_set_of_images_would_agree_on(noise, least, most):
    generator = np.random.default_rng(1)
    true = generator.normal(size=(400, 1))
    halves = true + noise * generator.normal(size=(400, 2))
    assert least <= reliability(halves) <= most


def test_spearman_brown():
    """Two halves that correlate at ρ make a whole of 2ρ / (1 + ρ)."""
    generator = np.random.default_rng(0)
    halves = generator.normal(size=(50, 1)) + generator.normal(size=(50, 2))
    better = halves[halves.sum(1) <= np.median(halves.sum(1))]
    rho = rank_correlation(*better.T)
    assert reliability(halves) == pytest.approx(max(0, 2 * rho / (1 + rho)))


def test_few_networks_tell_nothing():
    assert reliability([(1.0, 1.0)] * 5) is None and reliability([]) is None


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


def test_a_score_is_mean_loss_with_its_error_and_its_halves():
    logits = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(9) % 3
    scorer = Scorer.__new__(Scorer)
    scorer.device, scorer.normalize, scorer.labels = torch.device("cpu"), torch.nn.Identity(), labels
    scorer.validation = logits[:, None, :, None].expand(9, 3, 3, 3)
    losses = -logits.log_softmax(1)[torch.arange(9), labels].double()
    score = scorer.score(Answers())
    assert score.loss == pytest.approx(losses.mean().item())
    assert score.error == pytest.approx(losses.std().item() / 3)
    assert score.halves == pytest.approx((losses[::2].mean().item(), losses[1::2].mean().item()))
    assert score.top1 == pytest.approx((logits.argmax(1) == labels).double().mean().item())
