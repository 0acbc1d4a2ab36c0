"""How good a network of the space is, by the supernet's weights."""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from mixtransfer.backbones import Architecture
from mixtransfer.classification.datamodule import EvaluationData
from mixtransfer.data.dataset import Examples, ImageDataset
from mixtransfer.data.preprocessing import Normalize, Preprocessing
from mixtransfer.search.elastic import ElasticNetwork

# BatchNorm statistics of a shared network are of no network in particular: each gets its own from so many training
# images before it is scored (Guo et al., ECCV 2020, section 3.4).
CALIBRATION = 1024
VALIDATION = 5000  # images at most
BATCH = 256


@dataclass(frozen=True)
class Score:
    """What a network is worth on the validation images.

    Attributes:
        loss: Mean log loss, by which networks are ranked: it tells them apart on fewer images than accuracy does.
        top1: Share of the images that it has right.
        thirds: Mean log loss on every third image, on the next ones and on the rest, to see how much of a ranking is
            chance.
        error: Standard error of the loss; of the difference of two networks it is smaller, for their images are alike.
    """

    loss: float
    top1: float
    thirds: tuple[float, float, float]
    error: float


class Scorer:
    """Scores networks on validation images, which are decoded once and kept in memory.

    Attributes:
        images: Number of validation images.
    """

    def __init__(
        self, supernet: ElasticNetwork, dataset: ImageDataset, preprocessing: Preprocessing, device: torch.device,
        workers: int | None,
    ):  # fmt: skip
        self.supernet, self.device = supernet.to(device), device
        self.normalize = Normalize(preprocessing).to(device)
        data = EvaluationData(preprocessing, workers=workers)
        self.calibration, _ = _views(data, dataset.train, CALIBRATION)
        self.validation, self.labels = _views(data, dataset.val, VALIDATION)
        self.images = len(self.labels)

    def network(self, architecture: Architecture) -> nn.Module:
        """A copy of a network, with statistics of training images, in evaluation mode."""
        return self.supernet.standalone(architecture, self._inputs(self.calibration))

    @torch.inference_mode()
    def score(self, network: nn.Module) -> Score:
        """Score such a network on the validation images."""
        logits = torch.cat([network(inputs).float().cpu() for inputs in self._inputs(self.validation)])
        losses = F.cross_entropy(logits, self.labels, reduction="none").double()
        top1 = float((logits.argmax(1) == self.labels).double().mean())
        error = float(losses.std(correction=1 if len(losses) > 1 else 0)) / len(losses) ** 0.5
        first, second, third = (float(losses[start::3].mean()) for start in range(3))
        return Score(float(losses.mean()), top1, (first, second, third), error)

    def _inputs(self, images: torch.Tensor):
        # In parts of equal size: each counts alike in the statistics of batch norms.
        parts = images.tensor_split(math.ceil(len(images) / BATCH))
        return (self.normalize(part.to(self.device)) for part in parts)


def _views(data: EvaluationData, examples: Examples, most: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Central views of some of the examples, uint8 (n, 3, h, w), and their labels."""
    chosen = np.random.default_rng(0).permutation(len(examples))[:most]
    images, labels, _ = zip(*data.evaluation_loader(examples.subset(np.sort(chosen))), strict=True)
    return torch.cat(images), torch.cat(labels)
