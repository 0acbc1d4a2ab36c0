"""`detect predict`: objects in images and videos, as they come."""

import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch
from PIL import Image

from mixtransfer.backbones.fuse import for_inference
from mixtransfer.data.detection.square import Square
from mixtransfer.data.images import IMAGE_SUFFIXES, find_images, load_image
from mixtransfer.data.loading import default_workers
from mixtransfer.detection.drawing import draw_detections
from mixtransfer.detection.inference import to_detections
from mixtransfer.detection.mapper import model_input, square_view
from mixtransfer.detection.model import open_detector
from mixtransfer.detection.options import PredictOptions
from mixtransfer.detection.scores import Detections, coco_results
from mixtransfer.detection.spec import LARGEST_MOST
from mixtransfer.detection.thresholds import of_each
from mixtransfer.device import choose_device
from mixtransfer.errors import UserError
from mixtransfer.files import write_atomic
from mixtransfer.ranges import AT_LEAST_1, SHARE, check_ranges

Threshold = float | Sequence[float] | None  # of all classes, of each, or what validation chose
VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"})


@dataclass(frozen=True)
class Found:
    """What the detector finds in one image or video frame.

    Attributes:
        path: The file.
        frame: Number of the video's frame, or None.
        detections: Those above the threshold, best first; None if the file cannot be used.
        error: Why it cannot be used, or None.
    """

    path: Path
    frame: int | None
    detections: Detections | None
    error: str | None = None


class Detector(Protocol):
    """What finds objects: a run's network, or an exported file."""

    classes: list[str]
    thresholds: list[float]  # of the classes, as validation chose them
    category_ids: list[int]
    square: Square
    most: int  # detections of an image

    def detect(self, views: Sequence[torch.Tensor], sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """What is found in each image, in its own pixels; the ids count from 0.

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
        least = self.thresholds if threshold is None else threshold
        self.model.thresholds = torch.as_tensor(least, dtype=torch.float32).expand(len(trained.classes))
        self.most = self.model.detections_per_image
        self.classes, self.category_ids, self.square = trained.classes, trained.category_ids, trained.spec.square

    def __call__(self, image: Image.Image) -> Detections:
        """What is found in one RGB image, in its pixels."""
        return self.detect([square_view(image, self.square)], [image.size])[0]

    @torch.inference_mode()
    def detect(self, views: Sequence[torch.Tensor], sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        inputs = [model_input(view, self.square, *size) for view, size in zip(views, sizes, strict=True)]
        return [to_detections(i, result["instances"]) for i, result in enumerate(self.model(inputs))]


def check_threshold(threshold: Threshold) -> None:
    """
    Raises:
        UserError: It is no score.
    """
    if isinstance(threshold, int | float) and not 0 <= threshold <= 1:
        raise UserError(f"--threshold is {threshold}; it must lie between 0 and 1.")


def predict(options: PredictOptions, detector: Detector) -> Iterator[Found]:
    """Detect in every image and video frame; with ``options.output`` also draw and write what is found.

    Images are decoded while others are detected in, and every batch but the last is full.

    Raises:
        UserError: A pattern matches nothing, or the output folder cannot be written.
    """
    check_ranges(options, batch_size=AT_LEAST_1, max_detections=(1, LARGEST_MOST), nms=SHARE)
    paths = find_images(options.images, IMAGE_SUFFIXES | VIDEO_SUFFIXES)
    output = Path(options.output) if options.output else None
    if output:
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"The output folder {output} cannot be written ({error.strerror}).") from error
    sources: list[dict] = []
    everything: list[Detections] = []
    workers = max(1, default_workers() if options.workers is None else options.workers)
    with ThreadPoolExecutor(workers) as pool, _Drawings(output, detector.classes) as drawings:
        for batch in _batches(_shots(paths, detector.square, pool, 2 * options.batch_size), options.batch_size):
            usable = [
                (shot.view, shot.image.size) for shot in batch if shot.image is not None and shot.view is not None
            ]
            views, sizes = [view for view, _ in usable], [size for _, size in usable]
            answers = iter(detector.detect(views, sizes) if usable else [])
            for shot in batch:
                if shot.image is None:
                    yield Found(shot.path, None, None, shot.error)
                    continue
                detections = replace(next(answers), image_id=len(everything) + 1)
                drawings.add(shot, detections)
                sources.append({"id": detections.image_id, "file_name": str(shot.path), "frame": shot.frame})
                everything.append(detections)
                yield Found(shot.path, shot.frame, detections)
    if output:
        categories = [{"id": i, "name": n} for i, n in zip(detector.category_ids, detector.classes, strict=True)]
        results = coco_results(everything, detector.category_ids)
        text = json.dumps({"images": sources, "categories": categories, "annotations": results}, ensure_ascii=False)
        write_atomic(output / "detections.json", text + "\n")


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
            print(json.dumps(answer, ensure_ascii=False), flush=True)
        else:
            listed = ", ".join(f"{o['class']} {100 * o['score']:.0f} %" for o in objects) or "nothing"
            print(f"{place}  {listed}", flush=True)
        if len(objects) == detector.most:
            say(f"{place} has {len(objects)} objects or more: that many are the most (--max-detections).")
    if images:
        say(f"{images} images, {images / (time.perf_counter() - start):.1f} images/s.")
    return images


@dataclass(frozen=True)
class _Shot:
    """An image or a video frame with what the network is shown of it, or why there is none."""

    path: Path
    frame: int | None = None
    image: Image.Image | None = None
    view: torch.Tensor | None = None
    error: str | None = None
    rate: float = 25.0  # frames a second of the video


def _shots(paths: Sequence[Path], square: Square, pool: ThreadPoolExecutor, ahead: int) -> Iterator[_Shot]:
    """All images and frames in order; up to ``ahead`` files are decoded before they are asked for."""
    waiting: deque[Future[_Shot] | Iterator[_Shot]] = deque()
    for path in [*paths, *[None] * ahead]:
        if path is not None:
            is_video = path.suffix.lower() in VIDEO_SUFFIXES
            waiting.append(_frames(path, square) if is_video else pool.submit(_still, path, square))
        if waiting and (path is None or len(waiting) > ahead):
            first = waiting.popleft()
            yield from [first.result()] if isinstance(first, Future) else first


def _batches(shots: Iterator[_Shot], size: int) -> Iterator[list[_Shot]]:
    """Runs of shots with ``size`` usable ones, the last perhaps with fewer."""
    batch: list[_Shot] = []
    for shot in shots:
        batch.append(shot)
        if sum(one.image is not None for one in batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _still(path: Path, square: Square) -> _Shot:
    try:
        image = load_image(path)
    except ValueError as error:
        return _Shot(path, error=str(error))
    return _Shot(path, None, image, square_view(image, square))


def _frames(path: Path, square: Square) -> Iterator[_Shot]:
    video = cv2.VideoCapture(str(path))
    try:
        rate = video.get(cv2.CAP_PROP_FPS) or 25.0
        frame = 0
        while True:
            there, pixels = video.read()
            if not there:
                break
            image = Image.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
            yield _Shot(path, frame, image, square_view(image, square), rate=rate)
            frame += 1
        if frame == 0:
            yield _Shot(path, error="is not a video that can be decoded")
    finally:
        video.release()


class _Drawings(AbstractContextManager):
    """Copies of images and videos with boxes drawn, in a folder; without one nothing is drawn."""

    def __init__(self, folder: Path | None, classes: list[str]):
        self.folder, self.classes = folder, classes
        self.path: Path | None = None  # of the video that is being written
        self.writer: cv2.VideoWriter | None = None

    def add(self, shot: _Shot, detections: Detections) -> None:
        if self.folder is None or shot.image is None:
            return
        drawn = draw_detections(shot.image, detections, self.classes)
        if shot.path != self.path:
            self.close()
        if shot.frame is None:
            drawn.save((self.folder / _free_name(self.folder, shot.path)).with_suffix(".jpg"), quality=92)
            return
        if self.writer is None:
            target = (self.folder / _free_name(self.folder, shot.path)).with_suffix(".mp4")
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            self.path, self.writer = shot.path, cv2.VideoWriter(str(target), codec, shot.rate, drawn.size)
        self.writer.write(cv2.cvtColor(np.asarray(drawn), cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        if self.writer is not None:
            self.writer.release()
        self.path = self.writer = None

    def __exit__(self, *error) -> None:
        self.close()


def _free_name(folder: Path, path: Path) -> str:
    """A name for the drawn copy that no other file of the folder has, whatever its suffix."""
    taken = {file.stem for file in folder.iterdir()}
    names = (path.stem if i == 1 else f"{path.stem}-{i}" for i in range(1, 1_000_000))
    return next(name for name in names if name not in taken) + path.suffix
