"""Copies of images and videos with what was found drawn on them."""

import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import cv2
import numpy as np

from mixtransfer.common.files import Copies
from mixtransfer.common.messages import remark
from mixtransfer.detection.drawing import draw_detections
from mixtransfer.detection.scores import Detections
from mixtransfer.detection.shots import Shot

# VP8 in WebM is what OpenCV's wheels can write and browsers play: H.264 is not in them, and VP9 takes eight times as
# long. A build without it has MPEG-4.
CODECS = (("VP80", ".webm"), ("mp4v", ".mp4"))


class Drawings(AbstractContextManager):
    """Copies with boxes; without a folder nothing is drawn.

    Args:
        copies: Where they go: images as JPEG, videos as WebM without sound.
        classes: Names by label.
    """

    def __init__(self, copies: Copies | None, classes: list[str]):
        self.copies, self.classes = copies, classes
        self.path: Path | None = None  # of the video that is being written
        self.writer: cv2.VideoWriter | None = None

    def add(self, shot: Shot, detections: Detections) -> None:
        """Draw one image, or the next frame of a video."""
        if self.copies is None or shot.image is None:
            return
        drawn = draw_detections(shot.image, detections, self.classes)
        if shot.path != self.path:
            self.close()
        if shot.frame is None:
            drawn.save(self.copies.path(shot.path, ".jpg"), quality=92)
            return
        if self.writer is None:
            self.path, self.writer = shot.path, self._open(shot, drawn.size)
        self.writer.write(cv2.cvtColor(np.asarray(drawn), cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """Finish the video that is being written."""
        if self.writer is not None:
            self.writer.release()
        self.path = self.writer = None

    def __exit__(self, *error) -> None:
        self.close()

    def _open(self, shot: Shot, size: tuple[int, int]) -> cv2.VideoWriter:
        assert self.copies
        path = self.copies.path(shot.path, "")
        for name, suffix in CODECS:
            target = path.with_name(path.name + suffix)
            with _quiet():
                writer = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*name), shot.rate, size)
            if writer.isOpened():
                playable = "" if suffix == ".webm" else ", in a codec (MPEG-4) that browsers do not play"
                remark(f"Drawn: {target}, without the sound{playable}.")
                return writer
            target.unlink(missing_ok=True)
        remark(f"Warning: {shot.path} is not drawn: this build of OpenCV writes no video.")
        return writer


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep from the error stream that WebM has no tags of codecs, which OpenCV says there, and no setting stops."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
