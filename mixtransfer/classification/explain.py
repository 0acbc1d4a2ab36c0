"""Where in an image a classifier reads a class from: class activation maps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import matplotlib
import numpy as np
import torch
from PIL import Image
from torch import nn

from mixtransfer.data.preprocessing import Normalize, Preprocessing
from mixtransfer.errors import UserError

COLOURS = "inferno"  # of matplotlib's: as bright as the map says, for the colour-blind too
SHOWN = 0.6  # share of the map's colours in a picture, at its highest


@dataclass(frozen=True, eq=False)
class Explanation:
    """Where a class is read from in one image.

    Attributes:
        name: The class.
        view: What the network was shown, uint8 (size, size, 3).
        weights: How much each place speaks for the class, relative to the one that speaks most for it: float32 (size,
            size) from 0 to 1, all 0 where no place does.
    """

    name: str
    view: np.ndarray
    weights: np.ndarray

    def drawn(self) -> Image.Image:
        """The view, darker and overlaid with the map's colours where the class is read from."""
        colours = 255 * matplotlib.colormaps[COLOURS](self.weights)[..., :3]
        share = SHOWN * self.weights[..., None]
        grey = self.view.mean(2, keepdims=True)
        return Image.fromarray(np.rint((1 - share) * (0.3 * grey + 0.5 * self.view) + share * colours).astype(np.uint8))

    def beside(self) -> Image.Image:
        """The view, and on its right ``drawn``."""
        return Image.fromarray(np.concatenate([self.view, np.asarray(self.drawn())], axis=1))


class ClassMaps:
    """Class activation maps of a timm classifier, by the gradient (Selvaraju et al., "Grad-CAM", ICCV 2017).

    Of a network that pools its last map and answers with a linear layer they are its class activation maps (Zhou et
    al., "Learning deep features for discriminative localization", CVPR 2016).

    Args:
        model: In evaluation mode.
        preprocessing: Of its input.
    """

    def __init__(self, model: nn.Module, preprocessing: Preprocessing):
        self.model, self.preprocessing = model, preprocessing
        self._normalize = Normalize(preprocessing).to(next(model.parameters()).device)

    def explain(self, views: np.ndarray, labels: Sequence[int], classes: Sequence[str]) -> list[Explanation]:
        """Where each of these classes is read from.

        Args:
            views: uint8 (n, size, size, 3).
            labels: Of each view.
            classes: Names of all.

        Raises:
            UserError: The network does not answer by a map of the image.
        """
        maps = self._maps(views, labels)
        size = views.shape[1]
        found = []
        for view, label, own in zip(views, labels, maps, strict=True):
            smooth = cv2.resize(own, (size, size), interpolation=cv2.INTER_LINEAR)
            found.append(Explanation(classes[label], view, smooth))
        return found

    def _maps(self, views: np.ndarray, labels: Sequence[int]) -> np.ndarray:
        """Of shape (n, height, width), as coarse as the network's last map."""
        model: Any = self.model
        device = self._normalize.scale.device
        with torch.inference_mode(False), torch.no_grad():
            inputs = self._normalize(torch.from_numpy(views).permute(0, 3, 1, 2).to(device))
            features = model.forward_features(inputs)
        if not isinstance(features, torch.Tensor):
            raise UserError(NO_MAP)
        with torch.inference_mode(False), torch.enable_grad():  # in whatever mode the caller is
            features = features.detach().clone().requires_grad_()
            logits = model.forward_head(features)
            chosen = logits[torch.arange(len(views)), torch.as_tensor(labels, device=device)].sum()
            (slopes,) = torch.autograd.grad(chosen, features)
        planes, slopes = (self._planes(part.detach().float()) for part in (features, slopes))
        if not slopes.any():
            raise UserError(NO_MAP)
        maps = (slopes.mean((2, 3), keepdim=True) * planes).sum(1).relu()
        return (maps / maps.amax((1, 2), keepdim=True).clamp(min=1e-12)).cpu().numpy()

    def _planes(self, features: torch.Tensor) -> torch.Tensor:
        """Features as (n, channels, height, width), in whatever order a network has them."""
        if features.ndim == 3:  # tokens, behind some that are of no place
            own = features[:, getattr(self.model, "num_prefix_tokens", 0) :]
            side = round(own.shape[1] ** 0.5)
            if side**2 != own.shape[1] or side < 2:
                raise UserError(NO_MAP)
            return own.transpose(1, 2).unflatten(2, (side, side))
        if features.ndim != 4:
            raise UserError(NO_MAP)
        return features.permute(0, 3, 1, 2) if getattr(self.model, "output_fmt", "NCHW") == "NHWC" else features


NO_MAP = "This network does not answer by a map of the image, from which it could be told where a class is read from."
