"""The model of a run, and images of its data, whatever its task."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from mixtransfer.backbones import backbone_spec, count_macs, count_parameters, create_backbone
from mixtransfer.backbones.capability import check_classifier
from mixtransfer.classification.known import KnownScore, WithKnown
from mixtransfer.common.messages import tell
from mixtransfer.data.images import find_images, load_image
from mixtransfer.data.preprocessing import Normalize, Preprocessing
from mixtransfer.deploy.metadata import CROP_MODES, Metadata, square_of
from mixtransfer.deploy.network import ExportClassifier, ExportDetector, ExportNetwork, Rule
from mixtransfer.errors import UserError
from mixtransfer.runs.model_card import CLASSIFIERS, ModelCard
from mixtransfer.runs.run import Run
from mixtransfer.runs.run_data import boxes_of_run, images_of_run


@dataclass(frozen=True)
class Source:
    """What an export is made from.

    Attributes:
        run: The run; None of a backbone that was not trained.
        task: "classification", "multilabel" (several labels an image) or "detection".
        backbone: Its name.
        model: The trained network, on the CPU.
        preprocessing: Of its input.
        classes: Names in the order of the outputs.
        details: What only this task needs of the description.
        known: Of a classifier, what tells known images from others; None where the run keeps none.
    """

    run: Run | None
    task: str
    backbone: str
    model: nn.Module
    preprocessing: Preprocessing
    classes: list[str]
    details: dict = field(default_factory=dict)
    known: KnownScore | None = None

    @property
    def name(self) -> str:
        """What ``source_of`` opens it by."""
        return str(self.run.folder) if self.run else self.backbone

    @property
    def is_classifier(self) -> bool:
        """Whether its answer is of a whole image."""
        return self.task in CLASSIFIERS

    def cost(self) -> dict[str, int]:
        """Parameters and multiply-adds of an image: {"params": …, "macs": …}."""
        size = self.preprocessing.size
        if self.is_classifier:
            return {"params": count_parameters(self.model), "macs": count_macs(self.model, (3, size, size))}
        from mixtransfer.detection.ssdlite.cost import network_cost

        return network_cost(self.model, size)

    def data(self, check: bool = True) -> Any:
        """The dataset that the run was trained on, in the same parts.

        Args:
            check: See ``load_dataset``.

        Raises:
            UserError: It cannot be read any more, or the run keeps no split.
        """
        assert self.run
        if self.task == "detection":
            return boxes_of_run(self.run)
        return images_of_run(self.run, check=check)

    def network(self, inside: bool, raw: bool, rule: Rule, softmax: bool = False, known: bool = False) -> ExportNetwork:
        """The network to export; for the arguments see ``mixtransfer.deploy.network``."""
        if self.task == "detection":
            return ExportDetector(self.model, self.preprocessing, inside, rule, raw).eval()
        score, several = self.known if known else None, self.task == "multilabel"
        return ExportClassifier(self.model, self.preprocessing, inside, rule, softmax, score, several).eval()

    def describe(self, network: ExportNetwork, target: str) -> Metadata:
        """What a file of such a network says of itself."""
        return Metadata(
            self.task,
            self.backbone,
            self.classes,
            self.preprocessing,
            network.normalize is not None,
            list(network.outputs),
            self.details,
            target=target,
        )

    def view(self, image: Image.Image) -> np.ndarray:
        """What the network is shown of an image, uint8 (size, size, 3)."""
        if self.task == "detection":
            return square_of(self.preprocessing).view(np.asarray(image))
        return self.preprocessing.central_view(image)

    def reference(self, raw: bool) -> Callable[[torch.Tensor], dict[str, np.ndarray]]:
        """What PyTorch answers with the network as it was trained; see ``mixtransfer.deploy.parity.compare``."""
        return _detector_reference(self.model, raw) if self.task == "detection" else self._classifier_reference()

    def _classifier_reference(self) -> Callable[[torch.Tensor], dict[str, np.ndarray]]:
        normalize = Normalize(self.preprocessing)
        network = WithKnown(self.model, self.known) if self.known else self.model

        @torch.inference_mode()
        def answer(images: torch.Tensor) -> dict[str, np.ndarray]:
            answer = network(normalize(images))
            logits, *known = answer if self.known else (answer,)
            probabilities = logits.sigmoid() if self.task == "multilabel" else logits.softmax(1)
            outputs = {"logits": logits.numpy(), "probabilities": probabilities.numpy()}
            return {**outputs, "known": known[0].numpy()} if known else outputs

        return answer


def _detector_reference(model: Any, raw: bool) -> Callable[[torch.Tensor], dict[str, np.ndarray]]:
    @torch.inference_mode()
    def answer(images: torch.Tensor) -> dict[str, np.ndarray]:
        inputs = [{"image": image} for image in images]
        if raw:
            names = ("logits", "deltas", "anchors")
            return dict(zip(names, (x.numpy() for x in model.predict(model.preprocess(inputs).tensor)), strict=True))
        limit = model.detections_per_image
        found: dict[str, np.ndarray] = {
            "boxes": np.zeros((len(images), limit, 4), np.float32),
            "scores": np.zeros((len(images), limit), np.float32),
            "labels": np.zeros((len(images), limit), np.int64),
        }
        for i, result in enumerate(model(inputs)):
            instances = result["instances"]
            parts = (instances.pred_boxes.tensor, instances.scores, instances.pred_classes)
            for name, values in zip(found, parts, strict=True):
                found[name][i, : len(values)] = values.numpy()
        return found

    return answer


def open_source(folder: Path | str, only: str | None = None, **choice: Any) -> Source:
    """The model of a run of either task.

    Args:
        only, choice: Of a detector, see ``TrainedDetector.finding``.

    Raises:
        UserError: The folder is no run, or its files are damaged.
    """
    run = Run.open(folder)
    card = ModelCard.read(run.model)
    if card.task in CLASSIFIERS:
        from mixtransfer.classification.model import open_classifier

        for name in ("classes" if only is not None else None, *(key for key, value in choice.items() if value)):
            if name:
                raise UserError(f"--{name.replace('_', '-')} is for detectors; {folder} holds a classifier.")
        trained = open_classifier(folder)
        several = trained.thresholds
        thresholds = {} if several is None else dict(zip(trained.classes, several.tolist(), strict=True))
        return Source(
            run,
            card.task,
            card.backbone,
            trained.model,
            trained.preprocessing,
            trained.classes,
            {"thresholds": thresholds} if thresholds else {},
            known=trained.known,
        )
    from mixtransfer.detection.model import open_detector

    detector = open_detector(folder).finding(only, **choice)
    model = detector.model
    mean, std = (tuple((buffer / 255).flatten().tolist()) for buffer in (model.pixel_mean, model.pixel_std))
    square = detector.spec.square
    preprocessing = Preprocessing(square.size, 1.0, "bilinear", mean, std, CROP_MODES[square.resize])
    details = {
        "category_ids": detector.category_ids,
        "loss": card.details["loss"],
        "box_weights": list(model.box_transform.weights),
        "nms_threshold": model.nms_threshold,
        "limit": model.detections_per_image,
        "class_agnostic": model.class_agnostic,
        "min_score": model.score_threshold,
        "only": model.only,
        "thresholds": detector.spec.thresholds,
        "tiles": detector.spec.tiling.to_dict() if detector.spec.tiling else None,
    }
    return Source(run, card.task, card.backbone, model, preprocessing, detector.classes, details)


def source_of(name: str) -> Source:
    """The model of a run, or a backbone with random weights, which do not matter to its speed.

    Raises:
        UserError: It is neither.
    """
    if Run.is_run(name):
        return open_source(name)
    if Path(name).exists() and not name.lower().endswith(".json"):  # which is a backbone file
        raise UserError(f"{name} is neither a run nor an exported file; a backbone is one of `mixtransfer models`.")
    check_classifier(backbone_spec(name))
    model: Any = create_backbone(name, weights="none").eval()
    classes = [str(number) for number in range(model.num_classes)]
    return Source(None, "classification", name, model, Preprocessing.of(model), classes)


def images_of(source: Source, patterns: str | None, count: int) -> tuple[np.ndarray, str]:
    """Views to check on, uint8 (n, size, size, 3), and what they are, in words.

    They are the files that are given; else of the run's own data, the test part; else cut out of photographs.

    Raises:
        UserError: None of the files that are given can be used.
    """
    if patterns:
        images = _readable(find_images([patterns]), count)
        if not images:
            raise UserError(f"None of the images of {patterns} can be used: give others by --images.")
        return np.stack([source.view(image) for image in images]), patterns
    try:
        images = _of_the_data(source, count)
        if images:
            return np.stack([source.view(image) for image in images]), "of the run's data"
        why = "the run keeps no test images"
    except (UserError, OSError, TypeError) as error:  # the data may have moved since, or be on another machine
        tell(f"Warning: The run's own images cannot be checked on. {error}")
        why = "the run's data cannot be read"
    return np.stack([source.view(image) for image in _cut_out(count)]), f"cut out of photographs: {why}"


def _readable(paths: list[Path], count: int) -> list[Image.Image]:
    found: list[Image.Image] = []
    for path in paths:
        if len(found) == count:
            break
        try:
            found.append(load_image(path))
        except ValueError:
            continue
    return found


def _of_the_data(source: Source, count: int) -> list[Image.Image]:
    dataset = source.data(check=False)
    if source.task == "detection":
        return [record.image() for record in (dataset.test or dataset.val)[:count]]
    examples = dataset.test
    return [examples.image(int(i)) for i in np.unique(np.linspace(0, len(examples) - 1, count).astype(int))]


def _cut_out(count: int) -> list[Image.Image]:
    from sklearn.datasets import load_sample_images

    photographs = load_sample_images().images
    random = np.random.default_rng(0)
    found = []
    for i in range(count):
        pixels = photographs[i % len(photographs)]
        side = int(random.integers(100, min(pixels.shape[:2])))
        top, left = (int(random.integers(0, extent - side)) for extent in pixels.shape[:2])
        found.append(Image.fromarray(pixels[top : top + side, left : left + side]))
    return found
