"""The models behind the page: the one place where what a person names is opened."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from mixtransfer.answers import Classification, Objects
from mixtransfer.classification.explain import Explanation
from mixtransfer.detection.explain import BoxExplanation
from mixtransfer.detection.scores import Detections
from mixtransfer.detection.thresholds import above
from mixtransfer.errors import UserError
from mixtransfer.prediction import DetectionModel, load

LOWEST_SCORE = 0.05  # of a box that the page's slider can still show; a class's own may be lower


@dataclass(frozen=True)
class Model:
    """A model ready for single images.

    Attributes:
        name: What the page calls it.
        task: "classification" or "detection".
        network: Its backbone, and the format of an exported file.
        classes: Names in the order of its outputs.
        min_side: See ``load_image``; None if it wants the whole image.
        see: From an RGB image to a classifier's ``Classification`` or a detector's ``Detections`` above
            ``LOWEST_SCORE`` or its class's threshold, in pixels of the image.
        thresholds: Of a detector's classes, as validation chose them.
        explain: From an RGB image and a class's name, or what was found in it, to what ``drawn()`` draws; None
            where that cannot be had.
    """

    name: str
    task: str
    network: str
    classes: list[str]
    min_side: int | None
    see: Callable
    thresholds: list[float] = field(default_factory=list)
    explain: Callable[..., Explanation | BoxExplanation] | None = None

    def timed(self, image: Image.Image) -> tuple:
        """What it sees, and the milliseconds from the decoded image to that."""
        start = time.perf_counter()
        seen = self.see(image)
        return seen, 1000 * (time.perf_counter() - start)

    def shown(self, found: Detections, threshold: float | None) -> Detections:
        """What scores more than the threshold; without one, than that of its class."""
        return above(found, self.thresholds if threshold is None else threshold)


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
    """The model of a Run or of an exported file.

    Raises:
        UserError: It cannot be used.
    """
    loaded = load(path, device)
    thresholds, explain = [], None
    if isinstance(loaded, DetectionModel):
        thresholds = loaded.thresholds
        loaded.show_from([min(LOWEST_SCORE, one) for one in thresholds])
    if loaded.explains:
        explain = loaded.explain_found if isinstance(loaded, DetectionModel) else loaded.explain

    def see(image: Image.Image) -> Classification | Detections:
        seen = loaded.predict(image)
        if isinstance(seen, Objects):
            return Detections(0, seen.boxes, seen.scores, seen.labels)
        return seen

    return Model(name, loaded.task, loaded.backbone, loaded.classes, loaded.min_side, see, thresholds, explain)
