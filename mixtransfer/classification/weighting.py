"""How much each image counts in the loss."""

import torch


def weights_of_images(labels: torch.Tensor, class_weight: torch.Tensor) -> torch.Tensor:
    """The weight of each image, shape (n,), by its class, or by the shares of the classes in it.

    Not torch's ``weight``: that weighs each class's part of the smoothed target, and so teaches frequent classes to be
    wrong (pytorch#104776). Nor is the loss divided by the weights of the batch, as torch's is: a rare image would count
    less the smaller the batch (of 400 images and 12, told apart by nothing, the 12 would get 38 % instead of 50 % in
    batches of 32, 21 % in batches of 8).

    Args:
        labels: Classes, shape (n,), or the share of each class, shape (n, classes).
        class_weight: Shape (classes,).
    """
    return class_weight[labels] if labels.ndim == 1 else (labels * class_weight).sum(dim=1)
