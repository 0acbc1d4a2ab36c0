"""`detect predict`: objects in images and videos, as they come."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from mixtransfer.data.images import IMAGE_SUFFIXES, find_images, load_image
from mixtransfer.detection.drawing import draw_detections
from mixtransfer.detection.inference import to_detections
from mixtransfer.detection.mapper import square_view
from mixtransfer.detection.model import TrainedDetector, open_detector
from mixtransfer.detection.options import PredictOptions
from mixtransfer.detection.scores import Detections, coco_results
from mixtransfer.device import choose_device, keep_freed_memory
from mixtransfer.errors import UserError
from mixtransfer.files import write_atomic

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


class Predictor:
    """A run's detector, ready for images.

    Args:
        run: The run's folder.
        device: "auto", "cpu", "cuda", …
        threshold: The smallest score to return.

    Raises:
        UserError: The run or the device cannot be used.
    """

    def __init__(self, run: str, device: str = "auto", threshold: float = 0.4):
        if not 0 <= threshold <= 1:
            raise UserError(f"--threshold is {threshold}; it must lie between 0 and 1.")
        keep_freed_memory()
        self.trained: TrainedDetector = open_detector(run)
        self.model = self.trained.model.to(choose_device(device))
        self.model.score_threshold = threshold
        self.images = 0

    @torch.inference_mode()
    def __call__(self, image: Image.Image) -> Detections:
        """What is found in an RGB image, in its pixels; the image's id is its number in order from 1."""
        width, height = image.size
        view = square_view(image, self.trained.size)
        (result,) = self.model([{"image": view, "width": width, "height": height}])
        self.images += 1
        return to_detections(self.images, result["instances"])


def predict(options: PredictOptions, predictor: Predictor) -> Iterator[Found]:
    """Detect in every image and video frame; with ``options.output`` also draw and write what is found.

    Raises:
        UserError: A pattern matches nothing, or the output folder cannot be written.
    """
    paths = find_images(options.images, IMAGE_SUFFIXES | VIDEO_SUFFIXES)
    output = Path(options.output) if options.output else None
    if output:
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"The output folder {output} cannot be written ({error.strerror}).") from error
    sources, everything = [], []
    for path in paths:
        target = output / _free_name(output, path) if output else None
        over = _video if path.suffix.lower() in VIDEO_SUFFIXES else _image
        for found in over(path, predictor, target):
            if found.detections is not None:
                sources.append({"id": found.detections.image_id, "file_name": str(path), "frame": found.frame})
                everything.append(found.detections)
            yield found
    if output:
        trained = predictor.trained
        categories = [{"id": i, "name": n} for i, n in zip(trained.category_ids, trained.classes, strict=True)]
        results = coco_results(everything, trained.category_ids)
        text = json.dumps({"images": sources, "categories": categories, "annotations": results}, ensure_ascii=False)
        write_atomic(output / "detections.json", text + "\n")


def print_found(found: Iterator[Found], predictor: Predictor, form: str, say: Callable[[str], None]) -> int:
    """Print what is found as it comes; returns the number of images that could be used."""
    classes = predictor.trained.classes
    start = time.perf_counter()
    for one in found:
        if one.detections is None:
            say(f"Left out: {one.path} {one.error}.")
            continue
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
    if predictor.images:
        say(f"{predictor.images} images, {predictor.images / (time.perf_counter() - start):.1f} images/s.")
    return predictor.images


def _image(path: Path, predictor: Predictor, target: Path | None) -> Iterator[Found]:
    try:
        image = load_image(path)
    except ValueError as error:
        yield Found(path, None, None, str(error))
        return
    detections = predictor(image)
    if target:
        draw_detections(image, detections, predictor.trained.classes).save(target.with_suffix(".jpg"), quality=92)
    yield Found(path, None, detections)


def _video(path: Path, predictor: Predictor, target: Path | None) -> Iterator[Found]:
    video = cv2.VideoCapture(str(path))
    writer = None
    try:
        frame = 0
        while True:
            there, pixels = video.read()
            if not there:
                break
            image = Image.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
            detections = predictor(image)
            if target:
                if writer is None:
                    rate = video.get(cv2.CAP_PROP_FPS) or 25.0
                    codec = cv2.VideoWriter.fourcc(*"mp4v")
                    writer = cv2.VideoWriter(str(target.with_suffix(".mp4")), codec, rate, image.size)
                drawn = np.asarray(draw_detections(image, detections, predictor.trained.classes))
                writer.write(cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
            yield Found(path, frame, detections)
            frame += 1
        if frame == 0:
            yield Found(path, None, None, "is not a video that can be decoded")
    finally:
        video.release()
        if writer:
            writer.release()


def _free_name(folder: Path, path: Path) -> str:
    """A name for the drawn copy that no other file of the folder has, whatever its suffix."""
    taken = {file.stem for file in folder.iterdir()}
    names = (path.stem if i == 1 else f"{path.stem}-{i}" for i in range(1, 1_000_000))
    return next(name for name in names if name not in taken) + path.suffix
