"""Images and frames of videos, decoded while others are detected in."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
from PIL import Image

from mixtransfer.data.detection.square import Square
from mixtransfer.data.images import load_image
from mixtransfer.detection.tiles import Views, views_of
from mixtransfer.detection.tiling import Tiling

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"})


@dataclass(frozen=True)
class Shot:
    """An image or a video frame with what the network is shown of it, or why there is none.

    Attributes:
        path: The file.
        frame: Number of the video's frame, from 0, or None.
        image: RGB, upright.
        views: What the network is shown.
        error: Why the file cannot be used.
        rate: Frames a second that are taken of the video.
    """

    path: Path
    frame: int | None = None
    image: Image.Image | None = None
    views: Views | None = None
    error: str | None = None
    rate: float = 25.0


@dataclass(frozen=True)
class Reader:
    """Decodes files.

    Attributes:
        square: What the network is shown of an image.
        tiling: How images are cut.
        stride: Of a video every so manieth frame is taken.
    """

    square: Square
    tiling: Tiling | None = None
    stride: int = 1

    def shots(self, paths: Sequence[Path], pool: ThreadPoolExecutor, ahead: int) -> Iterator[Shot]:
        """All images and frames in order; up to ``ahead`` files are decoded before they are asked for."""
        waiting: deque[Future[Shot] | Iterator[Shot]] = deque()
        for path in [*paths, *[None] * ahead]:
            if path is not None:
                is_video = path.suffix.lower() in VIDEO_SUFFIXES
                waiting.append(self.frames(path) if is_video else pool.submit(self.still, path))
            if waiting and (path is None or len(waiting) > ahead):
                first = waiting.popleft()
                yield from [first.result()] if isinstance(first, Future) else first

    def still(self, path: Path) -> Shot:
        """An image."""
        try:
            image = load_image(path)
        except ValueError as error:
            return Shot(path, error=str(error))
        return Shot(path, None, image, views_of(image, self.square, self.tiling))

    def frames(self, path: Path) -> Iterator[Shot]:
        """Every ``stride``-th frame of a video, from the first on."""
        video = cv2.VideoCapture(str(path))
        try:
            rate = (video.get(cv2.CAP_PROP_FPS) or 25.0) / self.stride
            shot = partial(Shot, path, rate=rate)
            frame = 0
            while video.grab():
                if frame % self.stride == 0:
                    there, pixels = video.retrieve()
                    if not there:
                        break
                    image = Image.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
                    yield shot(frame, image, views_of(image, self.square, self.tiling))
                frame += 1
            if frame == 0:
                yield shot(error="is not a video that can be decoded")
        finally:
            video.release()


def batches(shots: Iterator[Shot], size: int) -> Iterator[list[Shot]]:
    """Runs of shots with ``size`` usable ones, the last perhaps with fewer."""
    batch: list[Shot] = []
    for shot in shots:
        batch.append(shot)
        if sum(one.image is not None for one in batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
