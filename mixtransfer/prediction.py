"""A trained model, ready for images in memory or in files: what ``mixtransfer.load`` gives."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import numpy as np
from PIL import Image

from mixtransfer.answers import Classification, Objects
from mixtransfer.api import path_of
from mixtransfer.classification.explain import Explanation
from mixtransfer.classification.predict import Classifier, RunClassifier
from mixtransfer.common.ranges import whole
from mixtransfer.deploy.exported import is_exported, open_exported
from mixtransfer.deploy.predict import ExportedClassifier, ExportedDetector
from mixtransfer.detection.explain import BoxExplanation, explain_boxes
from mixtransfer.detection.predict import Detector, RunDetector, Threshold, check_threshold
from mixtransfer.detection.scores import Detections
from mixtransfer.detection.tiles import find, views_of
from mixtransfer.errors import UserError
from mixtransfer.picture import Picture, are_several, to_image
from mixtransfer.runs.model_card import CLASSIFIERS, ModelCard
from mixtransfer.runs.run import Run

Answer = TypeVar("Answer")


class _Model(Generic[Answer]):
    """A model that is loaded.

    Attributes:
        task: "classification" or "detection".
        backbone: Its network, and the format of an exported file.
        classes: Class names in the order of its outputs.
        min_side: The shorter side of an image that is enough, see ``load_image``; None: all of it.
    """

    task: str
    min_side: int | None = None

    def __init__(self, backbone: str, classes: list[str]):
        self.backbone, self.classes = backbone, classes

    def __repr__(self) -> str:
        return f"<{self.task} by {self.backbone}, {len(self.classes)} classes>"

    @overload
    def predict(self, images: Picture) -> Answer: ...  # type: ignore[overload-overlap]  # a text is no sequence here

    @overload
    def predict(self, images: Sequence[Picture], batch_size: int = 32) -> list[Answer]: ...

    def predict(self, images, batch_size: int = 32):
        """What the model says of one image, or of each of several; threads may ask at once.

        Args:
            images: A file; an encoded image, as bytes or an open file; a ``PIL.Image``; or uint8 of (height, width, 3)
                in RGB, (height, width, 4) in RGBA, (height, width, 1) or (height, width). For a list of answers several
                of such, or uint8 of (n, height, width, 3).
            batch_size: Images at a time.

        Raises:
            UserError: An image cannot be used, or ``batch_size`` is none.
        """
        answers = list(self.stream(images, batch_size))
        return answers if are_several(images) else answers[0]

    def stream(self, images: Any, batch_size: int = 32) -> Iterator[Answer]:
        """As ``predict``, for any number of images, as they come."""
        return self._stream(images, whole("batch_size", batch_size, 1))

    def _stream(self, images: Any, batch_size: int) -> Iterator[Answer]:
        images = images if are_several(images) else [images]
        waiting: list[Image.Image] = []
        for image in images:
            waiting.append(to_image(image, self.min_side))
            if len(waiting) == batch_size:
                yield from self._batch(waiting)
                waiting = []
        if waiting:
            yield from self._batch(waiting)

    def _batch(self, images: list[Image.Image]) -> list[Answer]:
        raise NotImplementedError


class ClassificationModel(_Model[Classification]):
    """A classifier that is loaded; see ``mixtransfer.load``.

    Attributes:
        thresholds: Of several labels an image, from which probability on it has each, float32 (classes,); else None.
    """

    task = "classification"

    def __init__(self, backbone: str, classifier: Classifier):
        super().__init__(backbone, classifier.classes)
        self.preprocessing, self._classifier = classifier.preprocessing, classifier
        self.thresholds = classifier.thresholds
        self.min_side = classifier.preprocessing.min_side

    def explain(self, image: Picture, name: str | None = None) -> Explanation:
        """Where in an image a class is read from, as a class activation map; ``drawn()`` is a picture of it.

        Args:
            image: See ``predict``.
            name: The class; by default the most probable one.

        Raises:
            UserError: There is no such class, the image cannot be used, this is an exported file, or the network does
                not answer by a map of the image.
        """
        maps = self._classifier.maps
        if maps is None:
            raise UserError(f"{self.backbone} is an exported file, whose network cannot be looked into: load the run.")
        if name is not None and name not in self.classes:
            raise UserError(f"The model does not know the class {name!r}; it knows {', '.join(self.classes[:5])} …")
        view = np.stack([self.preprocessing.central_view(to_image(image, self.min_side))])
        name = self._classifier.classify(view)[0].name if name is None else name
        return maps.explain(view, [self.classes.index(name)], self.classes)[0]

    @property
    def explains(self) -> bool:
        """Whether it is a run, which ``explain`` can look into."""
        return self._classifier.maps is not None

    def _batch(self, images: list[Image.Image]) -> list[Classification]:
        views = np.stack([self.preprocessing.central_view(image) for image in images])
        return self._classifier.classify(views)


class DetectionModel(_Model[Objects]):
    """A detector that is loaded; see ``mixtransfer.load``.

    Attributes:
        thresholds: The score from which on each class's boxes are shown, as chosen on validation images.
    """

    task = "detection"

    def __init__(self, backbone: str, detector: Detector):
        super().__init__(backbone, detector.classes)
        self._detector = detector
        self.thresholds, self.show_from = detector.thresholds, detector.show_from

    def explain(self, image: Picture) -> BoxExplanation:
        """Where in an image the class of each box was read from; ``drawn()`` is a picture of it.

        Args:
            image: See ``predict``.

        Raises:
            UserError: The image cannot be used, this is an exported file, or the detector looks at tiles.
        """
        return self.explain_found(to_image(image, self.min_side))

    def explain_found(self, image: Image.Image, found: Detections | None = None) -> BoxExplanation:
        """As ``explain``, of what was found in an RGB image before."""
        detector = self._detector
        if not isinstance(detector, RunDetector):
            raise UserError(f"{self.backbone} is an exported file, whose network cannot be looked into: load the run.")
        if detector.spec.tiling:
            raise UserError("This detector looks at tiles of an image, in which each box is found: explain these.")
        return explain_boxes(detector, image, found)

    @property
    def explains(self) -> bool:
        """Whether it is a run that looks at whole images, which ``explain`` can look into."""
        return isinstance(self._detector, RunDetector) and not self._detector.spec.tiling

    def _batch(self, images: list[Image.Image]) -> list[Objects]:
        detector = self._detector
        views = [views_of(image, detector.square, detector.spec.tiling) for image in images]
        found = find(detector, views, max(8, len(images)))
        return [Objects(self.classes, one.boxes, one.scores, one.labels) for one in found]


def load(
    source: str | Path | Run, device: str = "auto", threshold: Threshold = None
) -> ClassificationModel | DetectionModel:
    """Load a trained model; its ``task`` says of which kind it is.

    Args:
        source: A run or its folder, an exported file, or "hf-hub:USER/NAME[@REVISION]" (see ``mixtransfer.push``).
        device: "cpu", "cuda", "mps" …; "auto" takes an accelerator where there is one. Exported files run on what their
            runtime has here; auto is a CUDA GPU, else the CPU.
        threshold: The smallest score of a detector's boxes, of all classes or of each; by default what validation has
            chosen for each class, or 0.4 where an older run keeps nothing.

    Raises:
        UserError: It holds no usable model, or the device cannot be used.
    """
    check_threshold(threshold)
    path, device = path_of(source), str(device)  # whatever is no device has no name of one
    if path.startswith("hf-hub:"):
        from mixtransfer.hub import fetched

        path = str(fetched(path))
    if is_exported(path):
        file = open_exported(path, device=device)
        network = f"{file.metadata.backbone}, {file.runtime.label}"
        if file.metadata.is_classifier:
            return ClassificationModel(network, ExportedClassifier(file))
        return DetectionModel(network, ExportedDetector(file, threshold))
    run = Run(Path(path))
    if not run.model.exists():
        Run.open(path)  # says what it is not
    card = ModelCard.read(run.model)
    if card.task in CLASSIFIERS:
        return ClassificationModel(card.backbone, RunClassifier(path, device))
    return DetectionModel(card.backbone, RunDetector(path, device, threshold))
