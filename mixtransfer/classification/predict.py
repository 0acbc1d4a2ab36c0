"""`classify predict`: classes of images, as they come."""

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from mixtransfer.backbones.fuse import for_inference
from mixtransfer.classification.model import open_classifier
from mixtransfer.classification.options import PredictOptions
from mixtransfer.data.images import find_images, load_image
from mixtransfer.data.loading import default_workers, one_thread
from mixtransfer.data.preprocessing import Normalize, Preprocessing
from mixtransfer.device import choose_device
from mixtransfer.ranges import AT_LEAST_0, AT_LEAST_1, check_ranges


@dataclass(frozen=True)
class Prediction:
    """What the model says of one image.

    Attributes:
        path: The file.
        top: (class, probability) pairs, most probable first; empty if the image cannot be used.
        error: Why it cannot be used, or None.
    """

    path: Path
    top: list[tuple[str, float]]
    error: str | None = None


class Classifier(Protocol):
    """What classifies: a run's network, or an exported file."""

    classes: list[str]
    preprocessing: Preprocessing

    def probabilities(self, views: np.ndarray) -> np.ndarray:
        """Of each class, float32 (n, classes), for central views, uint8 (n, size, size, 3)."""


class RunClassifier:
    """A run's network, ready for images; a ``Classifier``.

    Raises:
        UserError: The run or the device cannot be used.
    """

    def __init__(self, run: str, device: str = "auto"):
        trained = open_classifier(run)
        self.device = choose_device(device)
        self.model = for_inference(trained.model, self.device)
        self.normalize = Normalize(trained.preprocessing).to(self.device)
        self.classes, self.preprocessing = trained.classes, trained.preprocessing

    @torch.inference_mode()
    def probabilities(self, views: np.ndarray) -> np.ndarray:
        images = torch.from_numpy(views).permute(0, 3, 1, 2).to(self.device)
        return self.model(self.normalize(images)).float().softmax(dim=1).cpu().numpy()


def predict(options: PredictOptions, classifier: Classifier | None = None) -> Iterator[Prediction]:
    """Classify images, batch by batch; unusable files come out with their reason.

    Args:
        classifier: In place of the run that the options name.

    Raises:
        UserError: The run cannot be used, or a pattern matches nothing.
    """
    check_ranges(options, top=AT_LEAST_1, batch_size=AT_LEAST_1, workers=AT_LEAST_0)
    classifier = classifier or RunClassifier(options.run, options.device)
    paths = find_images(options.images)
    loader = DataLoader(
        _Files(paths, classifier.preprocessing),
        batch_size=options.batch_size,
        num_workers=min(default_workers() if options.workers is None else options.workers, len(paths) - 1),
        collate_fn=list,
        worker_init_fn=one_thread,
    )
    done = 0
    for views in loader:
        here = paths[done : done + len(views)]
        done += len(views)
        usable = [view for view in views if isinstance(view, np.ndarray)]
        if usable:
            probabilities = iter(classifier.probabilities(np.stack(usable)))
        for path, view in zip(here, views, strict=True):
            if isinstance(view, str):
                yield Prediction(path, [], view)
            else:
                values = next(probabilities)
                best = np.argsort(-values, kind="stable")[: options.top]
                yield Prediction(path, [(classifier.classes[i], float(values[i])) for i in best])


def print_predictions(predictions: Iterator[Prediction], form: str) -> int:
    """Print predictions as they come; unusable files are named on the error stream.

    Args:
        form: "table", "json" (one object a line) or "csv" (one row an image and class).

    Returns:
        The number of images that were classified.
    """
    classified = 0
    writer = csv.writer(sys.stdout, lineterminator="\n")
    if form == "csv":
        writer.writerow(["path", "rank", "class", "probability"])
    for prediction in predictions:
        if prediction.error:
            print(f"Left out: {prediction.path} {prediction.error}.", file=sys.stderr)
        classified += not prediction.error
        if form == "json":
            answer: dict[str, object] = {"path": str(prediction.path)}
            if prediction.error:
                answer["error"] = prediction.error
            else:
                answer["top"] = [{"class": name, "probability": round(p, 6)} for name, p in prediction.top]
            print(json.dumps(answer, ensure_ascii=False), flush=True)
        elif form == "csv":
            writer.writerows([prediction.path, i + 1, name, f"{p:.6f}"] for i, (name, p) in enumerate(prediction.top))
            sys.stdout.flush()
        elif not prediction.error:
            listed = ", ".join(f"{name} {100 * p:.1f} %" for name, p in prediction.top)
            print(f"{prediction.path}  {listed}", flush=True)
    return classified


class _Files(Dataset):
    """Views of files; an unusable file gives its reason instead."""

    def __init__(self, paths: Sequence[Path], preprocessing: Preprocessing):
        self.paths, self.preprocessing = paths, preprocessing

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray | str:
        try:
            return self.preprocessing.central_view(load_image(self.paths[index], self.preprocessing.min_side))
        except ValueError as error:
            return str(error)
