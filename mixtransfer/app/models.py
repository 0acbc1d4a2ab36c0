"""The models behind the page: the one place where what a person names is opened."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mixtransfer.device import choose_device
from mixtransfer.errors import UserError
from mixtransfer.run import ModelCard, Run

LOWEST_SCORE = 0.05  # of a box that the page's slider can still show


@dataclass(frozen=True)
class Model:
    """A model ready for single images.

    Attributes:
        name: What the page calls it.
        task: "classification" or "detection".
        backbone: Name of its network.
        classes: Names in the order of its outputs.
        min_side: See ``load_image``; None if it wants the whole image.
        see: From an RGB image to a classifier's probabilities (classes,) or a detector's ``Detections`` above
            ``LOWEST_SCORE``, in pixels of the image.
    """

    name: str
    task: str
    backbone: str
    classes: list[str]
    min_side: int | None
    see: Callable

    def timed(self, image: Image.Image) -> tuple:
        """What it sees, and the milliseconds from the decoded image to that."""
        start = time.perf_counter()
        seen = self.see(image)
        return seen, 1000 * (time.perf_counter() - start)


def open_models(paths: Sequence[str], device: str = "auto") -> list[Model]:
    """One model, or two of one task.

    Raises:
        UserError: A path holds no usable model, or they cannot stand side by side.
    """
    if len(paths) > 2:
        raise UserError(f"The page shows one or two models, not {len(paths)}: name fewer runs.")
    if len({Path(path).resolve() for path in paths}) < len(paths):
        raise UserError(f"{paths[0]} is given twice: name two different runs, or one.")
    folders = [Path(path).resolve().name for path in paths]
    names = folders if len(set(folders)) == len(paths) else [str(Path(path)) for path in paths]
    models = [open_model(path, name, device) for path, name in zip(paths, names, strict=True)]
    if len({model.task for model in models}) > 1:
        raise UserError(f"{paths[0]} is for {models[0].task}, {paths[1]} for {models[1].task}: name two of one task.")
    for model in models:  # the first calls of a network are slow, and would be the first to be shown
        for _ in range(2):
            model.see(Image.new("RGB", (320, 320), "grey"))
    return models


def open_model(path: str, name: str, device: str) -> Model:
    """The model of a Run.

    Raises:
        UserError: It cannot be used.
    """
    card = ModelCard.read(Run.open(path).model)
    if card.task == "classification":
        return _classifier(path, name, card, device)
    return _detector(path, name, card, device)


def _classifier(path: str, name: str, card: ModelCard, device: str) -> Model:
    from mixtransfer.backbones.folding import fold_batch_norm
    from mixtransfer.classification.model import open_classifier
    from mixtransfer.data.preprocessing import Normalize

    trained = open_classifier(path)
    fold_batch_norm(trained.model)
    place = choose_device(device)
    network = trained.model.to(place).to(memory_format=torch.channels_last)
    normalize = Normalize(trained.preprocessing).to(place)

    @torch.inference_mode()
    def see(image: Image.Image) -> np.ndarray:
        view = torch.from_numpy(np.array(trained.preprocessing.central_view(image)))
        logits = network(normalize(view.permute(2, 0, 1)[None].to(place)))
        return logits.float().softmax(dim=1)[0].cpu().numpy()

    return Model(name, card.task, card.backbone, trained.classes, trained.preprocessing.min_side, see)


def _detector(path: str, name: str, card: ModelCard, device: str) -> Model:
    from mixtransfer.detection.predict import Predictor

    predictor = Predictor(path, device, LOWEST_SCORE)
    return Model(name, card.task, card.backbone, predictor.trained.classes, None, predictor)
