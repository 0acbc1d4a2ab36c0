"""The square that a detector is shown of an image, and the way of boxes into it and back."""

from dataclasses import dataclass

import cv2
import numpy as np

from mixtransfer.data.detection import Resize

CANVAS = (124, 116, 104)  # ImageNet's mean colour, RGB


@dataclass(frozen=True)
class Square:
    """How an image becomes a square.

    Attributes:
        size: Its side in pixels.
        resize: ``warp`` fills it without regard to the image's shape; ``letterbox`` keeps the shape, in the middle,
            and fills the rest with ``CANVAS``.

    Examples:
        >>> Square(320, "letterbox").place(640, 480)
        (0, 40, 320, 280)
        >>> Square(320).into(np.array([[0, 0, 320, 240]]), 640, 480).tolist()
        [[0.0, 0.0, 160.0, 160.0]]
    """

    size: int
    resize: Resize = "warp"

    def place(self, width: float, height: float) -> tuple[int, int, int, int]:
        """Where an image of a width and height lies in the square: left, top, right, bottom in whole pixels."""
        if self.resize == "warp":
            return 0, 0, self.size, self.size
        scale = self.size / max(width, height)
        sides = [max(1, round(side * scale)) for side in (width, height)]
        left, top = ((self.size - side) // 2 for side in sides)
        return left, top, left + sides[0], top + sides[1]

    def view(self, image: np.ndarray, width: int | None = None, height: int | None = None) -> np.ndarray:
        """The square of an image, uint8 (h, w, 3) → (size, size, 3).

        Args:
            width, height: Of the image before it was decoded at a reduced scale, which may have rounded its shape.
        """
        left, top, right, bottom = self.place(width or image.shape[1], height or image.shape[0])
        if self.resize == "warp":
            return warp(image, self.size, self.size)
        square = np.empty((self.size, self.size, 3), dtype=np.uint8)
        square[:] = CANVAS
        square[top:bottom, left:right] = warp(image, right - left, bottom - top)
        return square

    def into(self, boxes: np.ndarray, width: np.ndarray | float, height: np.ndarray | float) -> np.ndarray:
        """Boxes (n, 4) in pixels of one image, or of n images of such sizes, as boxes in pixels of the square."""
        scale, shift = self._scale_and_shift(width, height)
        return boxes * scale + shift

    def back(self, boxes: np.ndarray, width: int, height: int) -> np.ndarray:
        """Boxes (n, 4) in pixels of the square as boxes inside the image, in its pixels."""
        scale, shift = self._scale_and_shift(width, height)
        found = (boxes - shift) / scale
        return found.clip(0, np.array([width, height] * 2)).astype(boxes.dtype)

    def _scale_and_shift(self, width: np.ndarray | float, height: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        sizes = np.stack(np.broadcast_arrays(width, height), -1).astype(np.float64)
        flat = sizes.reshape(-1, 2)
        kinds, which = np.unique(flat, axis=0, return_inverse=True)
        places = np.array([self.place(*size) for size in kinds], dtype=np.float64).reshape(-1, 4)[which.reshape(-1)]
        scale = (places[:, 2:] - places[:, :2]) / flat
        scale, shift = (np.tile(values, 2).reshape(*sizes.shape[:-1], 4) for values in (scale, places[:, :2]))
        return scale, shift


def warp(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize without regard to the aspect ratio; what shrinks, be it one side alone, is averaged over areas."""
    shrunk = min(width, image.shape[1]), min(height, image.shape[0])
    image = cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA)
    if shrunk != (width, height):
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return image
