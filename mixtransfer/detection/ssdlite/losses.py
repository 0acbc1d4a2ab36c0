"""How class scores are learnt: two losses to choose from."""

import math

import torch
import torch.nn.functional as F
from torchvision.ops import sigmoid_focal_loss


class HardNegativeCrossEntropy:
    """Softmax cross-entropy over the classes and background, with the hardest negatives only (SSD paper, 2.2).

    Of each image all positive anchors count, and of the others those with the largest loss, ``negative_ratio`` for
    each positive one; an image without objects therefore teaches nothing.
    """

    def __init__(self, negative_ratio: float = 3) -> None:
        self.negative_ratio = negative_ratio

    def num_logits(self, num_classes: int) -> int:
        """Logits of an anchor: the classes in order, then background."""
        return num_classes + 1

    def initial_bias(self) -> float:
        return 0.0

    def scores(self, logits: torch.Tensor) -> torch.Tensor:
        """Probabilities of the classes: (…, classes + 1) → (…, classes)."""
        return logits.softmax(-1)[..., :-1]

    def __call__(self, logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """The summed loss of a batch.

        Args:
            logits: (images, anchors, classes + 1).
            classes: (images, anchors); the number of classes stands for background.
        """
        background = logits.shape[-1] - 1
        loss = F.cross_entropy(logits.flatten(0, 1), classes.flatten(), reduction="none").view_as(classes)
        positive = classes != background
        wanted = self.negative_ratio * positive.sum(1, keepdim=True)
        # Positive anchors sort last as zeros, so that they add nothing where negatives are too few.
        negatives = loss.masked_fill(positive, 0).sort(1, descending=True).values
        rank = torch.arange(negatives.shape[1], device=negatives.device)
        # By masks: to pick the elements, a GPU would have to say how many they are.
        return (loss * positive).sum() + (negatives * (rank < wanted)).sum()


class SigmoidFocalLoss:
    """Focal loss (Lin et al., ICCV 2017) of independent sigmoids, as RetinaNet has it: every anchor counts.

    Sigmoids, because that is what the paper's α, γ and initial bias are for; there is no background logit.
    """

    def __init__(self, alpha: float = 0.25, gamma: float = 2.0, prior: float = 0.01) -> None:
        self.alpha = alpha
        self.gamma = gamma
        self.prior = prior

    def num_logits(self, num_classes: int) -> int:
        """Logits of an anchor: the classes in order."""
        return num_classes

    def initial_bias(self) -> float:
        """The logit of the ``prior``, so that the many negatives do not swamp the first steps (section 4.1)."""
        return math.log(self.prior / (1 - self.prior))

    def scores(self, logits: torch.Tensor) -> torch.Tensor:
        """Probabilities of the classes: (…, classes) → (…, classes)."""
        return logits.sigmoid()

    def __call__(self, logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """The summed loss of a batch.

        Args:
            logits: (images, anchors, classes).
            classes: (images, anchors); the number of classes stands for background.
        """
        num_classes = logits.shape[-1]
        target = F.one_hot(classes, num_classes + 1)[..., :-1].to(logits.dtype)
        return sigmoid_focal_loss(logits, target, self.alpha, self.gamma, reduction="sum")
