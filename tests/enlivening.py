"""Networks whose batch norms do something."""

import torch
from torch import nn


@torch.no_grad()
def enliven(model: nn.Module) -> nn.Module:
    """Batch norms with statistics and scales of their own, so that a mistake would show."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.1)
    return model.eval()
