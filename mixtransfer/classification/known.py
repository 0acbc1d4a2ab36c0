"""How known an image looks: whether it could be of any of the classes at all."""

from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn
from torch.nn import functional as F

from mixtransfer.answers import UNKNOWN_BELOW
from mixtransfer.common.files import write_atomic
from mixtransfer.errors import UserError

DIRECTIONS = 64  # in which features vary that are told from one another
KNOTS = round(1 / UNKNOWN_BELOW)  # steps of the distribution on images to validate on


class KnownScore(nn.Module):
    """How known images look by their features, (n, channels), as a share of the images to validate on, 0 to 1.

    0.3 says that of 10 images to validate on 3 look less known. Below ``UNKNOWN_BELOW`` an image is called unknown.

    What is ranked is the relative Mahalanobis distance of normalised features (Ren et al., "A simple fix to Mahalanobis
    distance for improving near-OOD detection", 2021): how much farther an image is from the nearest class, by the
    covariance within classes, than from all images, by that of all. Both covariances are shrunk towards a multiple of
    the identity, and known along their ``DIRECTIONS`` largest axes alone, so that exports stay small.
    """

    means: torch.Tensor
    center: torch.Tensor
    within: torch.Tensor
    overall: torch.Tensor
    rest: torch.Tensor
    knots: torch.Tensor

    def __init__(self, classes: int, channels: int):
        super().__init__()
        directions = min(DIRECTIONS, channels)
        shapes: dict[str, tuple[int, ...]] = {
            "center": (channels,),  # the mean of all images
            "means": (classes, channels),  # of classes, from there
            "within": (channels, directions),  # axes, so long that what is squared along them is taken off
            "overall": (channels, directions),
            "rest": (1,),  # along all other axes: the variance within classes, as a share of that overall
            "knots": (KNOTS + 1,),  # the score below which 0, 1, … KNOTS of KNOTS parts of the validation images lie
        }
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape))

    def distance(self, features: torch.Tensor) -> torch.Tensor:
        """The relative distance, larger for what is more known, shape (n,).

        Its unit is the variance within classes along the other axes, so that no number is too large for 16 bits.
        """
        x = F.normalize(features.float(), dim=1) - self.center
        from_all = x.square().sum(1) * self.rest - (x @ self.overall).square().sum(1)
        # The nearest class by ‖x − m‖² = ‖x‖² − 2 x·m + ‖m‖², in both parts of the distance: no (n, classes, channels).
        p, q = x @ self.within, self.means @ self.within
        along = p.square().sum(1, keepdim=True) - 2 * p @ q.t() + q.square().sum(1)
        all_axes = x.square().sum(1, keepdim=True) - 2 * x @ self.means.t() + self.means.square().sum(1)
        return from_all - (all_axes - along).amin(1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """The share of the images to validate on that look less known, shape (n,)."""
        widths = self.knots[1:] - self.knots[:-1]
        steps = (self.distance(features)[:, None] - self.knots[:-1]) / widths
        return steps.clamp(0, 1).mean(1)

    def write(self, path: Path) -> None:
        write_atomic(path, safetensors.torch.save(self.state_dict()))

    @classmethod
    def read(cls, path: Path, classifier: nn.Linear) -> "KnownScore":
        """What ``write`` wrote of a network with this last layer.

        Raises:
            UserError: It is damaged, or of another network.
        """
        try:
            score = cls(classifier.out_features, classifier.in_features)
            score.load_state_dict(safetensors.torch.load_file(path))
        except (OSError, SafetensorError, RuntimeError, AttributeError) as error:
            raise UserError(f"{path} is damaged or of another network: remove it, to do without.") from error
        return score.eval()


class WithKnown(nn.Module):
    """A timm classifier with a linear head that gives (logits, how known) of normalised images."""

    def __init__(self, model: nn.Module, known: KnownScore):
        super().__init__()
        self.model, self.known = model, known

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        model: Any = self.model
        features = model.forward_head(model.forward_features(images), pre_logits=True)
        return model.get_classifier()(features), self.known(features)
