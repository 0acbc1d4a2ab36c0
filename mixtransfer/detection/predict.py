"""`detect predict`: objects in images and videos, as they come."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image

from mixtransfer.backbones.fuse import for_inference
from mixtransfer.common.device import choose_device
from mixtransfer.common.files import Copies, write_atomic
from mixtransfer.common.messages import remark
from mixtransfer.common.ranges import AT_LEAST_1, SHARE, check_ranges
from mixtransfer.data.detection.coco import FOUND
from mixtransfer.data.detection.square import Square
from mixtransfer.data.images import IMAGE_SUFFIXES, find_images
from mixtransfer.data.loading import default_workers
from mixtransfer.detection.drawn import Drawings
from mixtransfer.detection.inference import to_detections
from mixtransfer.detection.mapper import model_input
from mixtransfer.detection.model import open_detector
from mixtransfer.detection.options import PredictOptions
from mixtransfer.detection.prelabels import PRELABELS, coco_instances
from mixtransfer.detection.scores import Detections
from mixtransfer.detection.shots import VIDEO_SUFFIXES, Reader, batches
from mixtransfer.detection.spec import LARGEST_MOST, DetectorSpec
from mixtransfer.detection.thresholds import of_each
from mixtransfer.detection.tiles import find, views_of
from mixtransfer.detection.tiling import as_tiling
from mixtransfer.errors import UserError

Threshold = float | Sequence[float] | None  # of all classes, of each, or what validation chose


@dataclass(frozen=True)
class Found:
    """What the detector finds in one image or video frame.

    Attributes:
        path: The file.
        frame: Number of the video's frame, or None.
        detections: Those above the threshold, best first; None if the file cannot be used.
        error: Why it cannot be used, or None.
        explained: The picture that shows where the boxes' classes were read from, if that was asked for.
    """

    path: Path
    frame: int | None
    detections: Detections | None
    error: str | None = None
    explained: Path | None = None


class Detector(Protocol):
    """What finds objects: a run's network, or an exported file."""

    classes: list[str]
    thresholds: list[float]  # of the classes, as validation chose them
    category_ids: list[int]
    square: Square
    most: int  # detections of an image
    spec: DetectorSpec

    def show_from(self, threshold: Threshold) -> None:
        """Find what scores more, of all classes or of each; None: than ``thresholds``."""

    def detect(self, views: Sequence[torch.Tensor], sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """What is found in each image, or part of one, in its own pixels; the ids count from 0.

        Args:
            views: The squares of the images, uint8 (3, size, size).
            sizes: Widths and heights of the images.
        """


class RunDetector:
    """A run's detector, ready for images; a ``Detector``.

    Args:
        run: The run's folder.
        device: "auto", "cpu", "cuda", …
        threshold: The smallest score to return, of all classes or of each; by default what validation has chosen for
            each class, or 0.4 where an older run keeps nothing.
        max_detections: The most of an image; by default as in training.
        only: Classes to find, with commas between.
        nms, class_agnostic: See ``DetectorSpec``; by default as in training.

    Raises:
        UserError: The run or the device cannot be used.
    """

    def __init__(
        self,
        run: str,
        device: str = "auto",
        threshold: Threshold = None,
        max_detections: int | None = None,
        only: str | None = None,
        nms: float | None = None,
        class_agnostic: bool | None = None,
    ):
        check_threshold(threshold)
        trained = open_detector(run).finding(
            only, max_detections=max_detections, nms=nms, class_agnostic=class_agnostic
        )
        self.model = for_inference(trained.model, choose_device(device))
        self.thresholds = of_each(trained.spec.thresholds, trained.classes)
        self.most = self.model.detections_per_image
        self.classes, self.category_ids = trained.classes, trained.category_ids
        self.spec, self.square = trained.spec, trained.spec.square
        self.show_from(threshold)

    def show_from(self, threshold: Threshold) -> None:
        least = self.thresholds if threshold is None else threshold
        self.model.thresholds = torch.as_tensor(least, dtype=torch.float32).expand(len(self.classes))

    def __call__(self, image: Image.Image) -> Detections:
        """What is found in one RGB image, in its pixels, by tiles if the run was trained on them."""
        return find(self, [views_of(image, self.square, self.spec.tiling)], batch_size=8)[0]

    @torch.inference_mode()
    def detect(self, views: Sequence[torch.Tensor], sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        inputs = [model_input(view, self.square, *size) for view, size in zip(views, sizes, strict=True)]
        return [to_detections(i, result["instances"]) for i, result in enumerate(self.model(inputs))]


def check_threshold(threshold: Threshold) -> None:
    """
    Raises:
        UserError: It is no score.
    """
    if threshold is None:
        return
    try:
        values = np.asarray(threshold, dtype=np.float64)
    except (TypeError, ValueError):
        raise UserError(
            f"--threshold takes a number between 0 and 1, or one of each class, not {threshold!r}."
        ) from None
    if not ((values >= 0) & (values <= 1)).all():
        raise UserError(f"--threshold is {threshold}; it must lie between 0 and 1.")


def predict(options: PredictOptions, detector: Detector) -> Iterator[Found]:
    """Detect in every image and video frame; with ``options.output`` also draw and write what is found.

    Images are decoded while others are detected in, and every batch but the last is full. With tiles the parts of one
    image go through the network ``options.batch_size`` at a time.

    Raises:
        UserError: A pattern matches nothing, or the output folder cannot be written.
    """
    check_ranges(options, batch_size=AT_LEAST_1, stride=AT_LEAST_1, max_detections=(1, LARGEST_MOST), nms=SHARE)
    tiling = as_tiling(options.tiles, options.overlap, detector.spec.tiling)
    if tiling and options.tiles is None:
        remark(f"By {tiling}, as in training (--tiles 0 is without).")
    form = PRELABELS.get(options.format)
    if form and not options.output:
        raise UserError(f"--format {options.format} is a folder of images and labels: say where by --output FOLDER.")
    explaining = _explaining(options, detector, tiling is not None)
    paths = find_images(options.images, IMAGE_SUFFIXES if explaining else IMAGE_SUFFIXES | VIDEO_SUFFIXES)
    output = Path(options.output) if options.output else None
    copies = Copies(output, "--output") if output else None
    model = Path(options.run).name
    classes, category_ids = detector.classes, detector.category_ids
    prelabels = form(output / options.format, classes, category_ids, model) if form and output else None
    sources: list[dict[str, Any]] = []
    everything: list[Detections] = []
    workers = max(1, default_workers() if options.workers is None else options.workers)
    at_once = 1 if tiling else options.batch_size
    reader = Reader(detector.square, tiling, options.stride)
    with ThreadPoolExecutor(workers) as pool, Drawings(copies, classes) as drawings:
        for batch in batches(reader.shots(paths, pool, 2 * at_once), at_once):
            answers = iter(find(detector, [shot.views for shot in batch if shot.views], options.batch_size))
            for shot in batch:
                if shot.image is None:
                    yield Found(shot.path, None, None, shot.error)
                    continue
                detections = replace(next(answers), image_id=len(everything) + 1)
                drawings.add(shot, detections)
                if prelabels:
                    prelabels.add(shot, detections)
                width, height = shot.image.size
                known = {"file_name": str(shot.path), "width": width, "height": height, "frame": shot.frame}
                sources.append({"id": detections.image_id, **known})
                everything.append(detections)
                explained = explaining(shot.path, shot.image, detections) if explaining else None
                yield Found(shot.path, shot.frame, detections, None, explained)
    if output:
        text = coco_instances(sources, everything, classes, category_ids, f"{FOUND} {model}")
        write_atomic(output / "detections.json", text)
    if prelabels:
        prelabels.close()


def _explaining(
    options: PredictOptions, detector: Detector, by_tiles: bool
) -> Callable[[Path, Image.Image, Detections], Path] | None:
    """What writes the picture that explains what was found in an image; None where none is asked for.

    Raises:
        UserError: It cannot be, or the folder cannot be written.
    """
    if options.explain is None:
        return None
    if not isinstance(detector, RunDetector):
        raise UserError(
            f"--explain is for runs; the network of {options.run}, an exported file, cannot be looked into."
        )
    if by_tiles:
        raise UserError("--explain is for whole images, and by tiles each box is found in a part: give --tiles 0.")
    from mixtransfer.detection.explain import explain_boxes

    copies = Copies(options.explain, "--explain")

    def write(path: Path, image: Image.Image, found: Detections) -> Path:
        target = copies.path(path, ".jpg")
        explain_boxes(detector, image, found).drawn().save(target, quality=92)
        return target

    return write


def print_found(found: Iterator[Found], detector: Detector, form: str, say: Callable[[str], None]) -> int:
    """Print what is found as it comes; returns the number of images that could be used."""
    classes, images = detector.classes, 0
    start = time.perf_counter()
    for one in found:
        if one.detections is None:
            say(f"Left out: {one.path} {one.error}.")
            continue
        images += 1
        boxes, scores, labels = one.detections.boxes, one.detections.scores, one.detections.labels
        objects = [
            {"class": classes[label], "score": round(float(score), 4), "box": [round(float(x), 1) for x in box]}
            for box, score, label in zip(boxes, scores, labels, strict=True)
        ]
        place = f"{one.path}" + (f" frame {one.frame}" if one.frame is not None else "")
        if form == "json":
            answer = {"path": str(one.path), **({} if one.frame is None else {"frame": one.frame}), "objects": objects}
            if one.explained:
                answer["explained"] = str(one.explained)
            print(json.dumps(answer, ensure_ascii=False), flush=True)
        else:
            listed = ", ".join(f"{o['class']} {100 * o['score']:.0f} %" for o in objects) or "nothing"
            print(f"{place}  {listed}", flush=True)
        if len(objects) == detector.most:
            say(f"{place} has {len(objects)} objects or more: that many are the most (--max-detections).")
    if images:
        say(f"{images} images, {images / (time.perf_counter() - start):.1f} images/s.")
    return images
