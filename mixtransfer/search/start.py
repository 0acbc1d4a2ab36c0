"""The trained network that a search may begin with, which it cuts parts from."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mixtransfer.backbones import Architecture, backbone_spec, create_backbone
from mixtransfer.backbones.describe import describe_backbone, describe_network
from mixtransfer.backbones.weights import describe_start, tell_license
from mixtransfer.classification.model import open_classifier
from mixtransfer.common.files import write_atomic
from mixtransfer.data.dataset import ImageDataset
from mixtransfer.data.preprocessing import Preprocessing
from mixtransfer.deploy.exported import is_exported
from mixtransfer.errors import UserError
from mixtransfer.runs.run import Run
from mixtransfer.runs.run_data import tell_seen_parts
from mixtransfer.search.elastic import ElasticNetwork
from mixtransfer.search.training import Say


@dataclass(frozen=True)
class Start:
    """A trained network, and how to cut it.

    Attributes:
        network: Trained; None where the supernet has its weights already.
        architecture: Its blocks.
        preprocessing: What it wants to see, at its own size.
        classes: Of its classifier; None where they are not those of the data.
    """

    network: nn.Module | None
    architecture: Architecture
    preprocessing: Preprocessing
    classes: list[str] | None

    def write(self, file: Path) -> None:
        """Keep what a search needs of it once the supernet is trained."""
        values = {"architecture": self.architecture.to_dict(), "preprocessing": self.preprocessing.to_dict()}
        write_atomic(file, json.dumps(values, indent=2) + "\n")

    @classmethod
    def read(cls, file: Path) -> "Start":
        """What ``write`` wrote.

        Raises:
            UserError: It is damaged.
        """
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
            architecture = Architecture.from_dict(values["architecture"], str(file))
            return cls(None, architecture, Preprocessing.from_dict(values["preprocessing"]), None)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file} is damaged: choose another --output.") from error

    def fill_classifier(self, elastic: ElasticNetwork, classes: list[str]) -> None:
        """Keep what the classifier knows, where it is of the same classes."""
        if self.network is None or self.classes is None or set(self.classes) != set(classes):
            return
        own: Any = self.network
        places = [self.classes.index(name) for name in classes]
        with torch.no_grad():
            elastic.widest.classifier.weight.copy_(own.classifier.weight[places])
            elastic.widest.classifier.bias.copy_(own.classifier.bias[places])


def open_start(source: str, dataset: ImageDataset, say: Say) -> Start:
    """Open what ``--start`` names: a run of a classifier, or a MixNet with its ImageNet weights.

    Of a run it is told if it was trained on images that are to choose or to test here.

    Raises:
        UserError: It is neither, or no network that can be cut.
    """
    if is_exported(source):
        raise UserError(f"--start {source} is an exported file: give the run that it was made of.")
    if (Path(source) / "search.json").exists():
        raise UserError(f"--start {source} is a search: give the run of what was found, or its {source}/supernet.")
    if source.lower().endswith(".json"):
        raise UserError(f"--start {source} is a backbone file, without weights: train it, and give the run.")
    if Run.is_run(source):
        trained = open_classifier(source)
        tell_seen_parts(Run(Path(source)), dataset, "The start", "choose the networks", say)
        name = Path(source).resolve().name
        architecture = describe_network(trained.model, name, trained.preprocessing.size)
        return Start(trained.model, architecture, trained.preprocessing, trained.classes)
    try:
        spec = backbone_spec(source)
    except UserError as error:
        raise UserError(f"--start {source} is neither a run nor a backbone. {error}") from error
    architecture = describe_backbone(spec)  # before anything is fetched
    tell_license(describe_start(spec, "imagenet"), say)
    network = create_backbone(spec, "imagenet")
    return Start(network, architecture, Preprocessing.of(network), None)
