import detecting  # noqa: F401  skips without detectron2
import pytest
import torch

from mixtransfer.detection.ssdlite.losses import HardNegativeCrossEntropy, SigmoidFocalLoss


def test_cross_entropy_takes_the_hardest_negatives():
    # One image with one positive anchor, and another without any, which has to add nothing.
    logits = torch.tensor([[[2.0, 0, 0], [3, 0, 0], [0, 0, 5], [1, 0, 0], [0, 2, 0]], [[9.0, 0, 0]] * 5])
    classes = torch.tensor([[0, 2, 2, 2, 2], [2] * 5])
    each = -logits.log_softmax(-1)
    expected = each[0, 0, 0] + each[0, [1, 3, 4], 2].sum()  # all but the easy negative, which is the third
    torch.testing.assert_close(HardNegativeCrossEntropy()(logits, classes), expected)


def test_cross_entropy_with_fewer_negatives_than_wanted():
    logits = torch.randn(1, 4, 3)
    classes = torch.tensor([[0, 1, 0, 2]])
    expected = torch.nn.functional.cross_entropy(logits[0], classes[0], reduction="sum")
    torch.testing.assert_close(HardNegativeCrossEntropy()(logits, classes), expected)


def test_focal_loss_by_its_formula():
    logits = torch.tensor([[[1.5, -2.0], [0.3, -0.7]]], dtype=torch.float64)
    classes = torch.tensor([[1, 2]])  # the second anchor is background
    p = torch.sigmoid(logits[0])
    positive = -0.25 * (1 - p[0, 1]) ** 2 * p[0, 1].log()
    negatives = [-0.75 * q**2 * (1 - q).log() for q in (p[0, 0], p[1, 0], p[1, 1])]
    torch.testing.assert_close(SigmoidFocalLoss()(logits, classes), positive + sum(negatives))


@pytest.mark.parametrize("loss", [HardNegativeCrossEntropy(), SigmoidFocalLoss()])
def test_scores_are_of_the_classes_only(loss):
    logits = torch.randn(2, 5, loss.num_logits(7))
    scores = loss.scores(logits)
    assert scores.shape == (2, 5, 7)
    assert scores.argmax(-1).tolist() == logits[..., :7].argmax(-1).tolist()
    background = torch.full((2, 5), 7)
    assert loss(logits, background).isfinite()


def test_focal_loss_begins_at_its_prior():
    loss = SigmoidFocalLoss(prior=0.02)
    assert loss.scores(torch.tensor([loss.initial_bias()])).item() == pytest.approx(0.02)
    assert SigmoidFocalLoss().scores(torch.tensor(SigmoidFocalLoss().initial_bias())) == pytest.approx(0.01)
    assert HardNegativeCrossEntropy().initial_bias() == 0


@pytest.mark.parametrize("ratio", [1, 2])
def test_so_many_negatives_are_taken_for_each_positive_of_an_image(ratio):
    logits, classes = torch.randn(2, 12, 3), torch.full((2, 12), 2)
    classes[0, :2], classes[1, 5] = 0, 1
    each = torch.nn.functional.cross_entropy(logits.flatten(0, 1), classes.flatten(), reduction="none").view(2, 12)
    expected = each[classes < 2].sum()
    for image, positives in enumerate((2, 1)):
        expected = expected + each[image][classes[image] == 2].sort().values[-ratio * positives :].sum()
    torch.testing.assert_close(HardNegativeCrossEntropy(ratio)(logits, classes), expected)
