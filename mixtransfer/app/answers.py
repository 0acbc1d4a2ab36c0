"""What the models answer to each image, kept small enough to stay in memory while a person looks at it."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from PIL import Image

from mixtransfer.app.models import Model
from mixtransfer.app.uploads import admit
from mixtransfer.data.images import load_image
from mixtransfer.detection.drawing import draw_detections
from mixtransfer.detection.scores import Detections
from mixtransfer.errors import UserError

PREVIEW = {"classification": 512, "detection": 1024}  # pixels, longest side of what is shown
TOP = 5


@dataclass(frozen=True)
class Answer:
    """What one model says of one image.

    Attributes:
        seen: A classifier's ``Classification`` or a detector's ``Detections``, as the model's task has it.
        milliseconds: From the decoded image to that.
    """

    seen: Any
    milliseconds: float


@dataclass(frozen=True)
class Looked:
    """An image that the models have looked at.

    Attributes:
        name: Of the file; of several that are called alike the later have a number behind.
        scale: Pixels of the preview for one of the image.
        preview: A JPEG file.
        answers: One a model.
    """

    name: str
    scale: float
    preview: bytes
    answers: list[Answer]

    def explained(self, number: int, model: Model, threshold: float | None) -> bytes | None:
        """Where the model with this number reads its answer from in the preview, as a JPEG file; None if unknown."""
        if model.explain is None:
            return None
        what = self._shown(number, model, threshold) if model.task == "detection" else self.answers[number].seen.name
        with Image.open(io.BytesIO(self.preview)) as image:
            try:
                return _jpeg(model.explain(image, what).drawn())
            except UserError:  # the network has no map of the image
                return None

    def drawn(self, number: int, model: Model, threshold: float | None) -> bytes:
        """The preview with the boxes of one model, the one with this number, as a JPEG file."""
        with Image.open(io.BytesIO(self.preview)) as image:
            return _jpeg(draw_detections(image, self._shown(number, model, threshold), model.classes))

    def _shown(self, number: int, model: Model, threshold: float | None) -> Detections:
        """What a detector found that is shown, in pixels of the preview."""
        found = model.shown(self.answers[number].seen, threshold)
        return Detections(found.image_id, found.boxes * self.scale, found.scores, found.labels)


@dataclass(frozen=True)
class Answers:
    """All that one drop of files came to.

    Attributes:
        models: The models that looked.
        images: Those that could be used.
        left_out: A sentence about each that could not.
    """

    models: list[Model]
    images: list[Looked]
    left_out: list[str]

    def milliseconds(self, model: int) -> float:
        """The median over the images."""
        return median(image.answers[model].milliseconds for image in self.images)


def look(
    paths: Sequence[Path], models: list[Model], most: int, max_megabytes: int, progress: Callable[[int, int], None]
) -> Answers:
    """Let the models look at files, one image at a time.

    Args:
        most, max_megabytes: See ``admit``.
        progress: Is called with the number of images done and of all.
    """
    admitted, left_out = admit(paths, most, max_megabytes)
    images: list[Looked] = []
    for done, path in enumerate(admitted):
        progress(done, len(admitted))
        try:
            name = _free_name(path.name, {image.name for image in images})
            images.append(_look_at(path, name, models, len(images)))
        except ValueError as error:
            left_out.append(f"{path.name} {error}.")
    return Answers(models, images, left_out)


def _free_name(name: str, taken: set[str]) -> str:
    candidates = (name if i == 1 else f"{name} ({i})" for i in range(1, len(taken) + 2))
    return next(candidate for candidate in candidates if candidate not in taken)


def _look_at(path: Path, name: str, models: Sequence[Model], number: int) -> Looked:
    """Each model gets what `predict` would give it, decoded at the scale that it asks for.

    The models take turns in being first, which is slower; at image ``number`` 0 the first calls are not counted.

    Raises:
        ValueError: The file is not a usable image, see ``load_image``.
    """
    longest = PREVIEW[models[0].task]
    # A detector needs the whole image, of which the preview can be made too.
    sides = {model.min_side for model in models} | ({longest} if models[0].min_side else set())
    decoded = {side: load_image(path, side) for side in sides}
    answers = {}
    for model in models if number % 2 else reversed(models):
        if number == 0:
            model.see(decoded[model.min_side])
        answers[model.name] = Answer(*model.timed(decoded[model.min_side]))
    image = decoded[longest if models[0].min_side else None]
    preview = image.copy()
    preview.thumbnail((longest, longest))
    return Looked(name, preview.width / image.width, _jpeg(preview), [answers[model.name] for model in models])


def _jpeg(image: Image.Image) -> bytes:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=88)
    return data.getvalue()
