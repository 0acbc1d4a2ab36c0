import detecting  # noqa: F401  skips without detectron2
import torch
from torch import nn

from mixtransfer.detection.ssdlite.layers import BatchNorm2d


def test_more_than_one_value_is_normalised_as_ever():
    torch.manual_seed(0)
    ours, reference = BatchNorm2d(3), nn.BatchNorm2d(3)
    for shape in ((2, 3, 1, 1), (1, 3, 2, 1), (4, 3, 5, 5)):
        x = torch.randn(shape)
        assert torch.equal(ours(x), reference(x))
    assert torch.equal(ours.running_var, reference.running_var)


def test_a_single_value_is_normalised_by_the_running_statistics():
    norm = BatchNorm2d(2)
    norm.running_mean[:] = torch.tensor([1.0, 2.0])
    norm.running_var[:] = torch.tensor([4.0, 9.0])
    x = torch.tensor([5.0, 8.0]).view(1, 2, 1, 1).requires_grad_()
    y = norm(x)
    torch.testing.assert_close(y.flatten(), torch.tensor([2.0, 2.0]))
    y.sum().backward()
    assert norm.weight.grad is not None
    assert norm.running_mean.tolist() == [1.0, 2.0]
