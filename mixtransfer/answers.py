"""What a model that is loaded says of an image."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np

from mixtransfer.common.ranges import whole

UNKNOWN_BELOW = 0.05  # share of the images to validate on that look less known than an image that is called unknown


@dataclass(frozen=True, eq=False)
class Classification:
    """What a classifier says of one image.

    Attributes:
        classes: Class names.
        probabilities: Of each class, float32 (classes,), calibrated on images that were not trained on. They sum to 1,
            or are each class's own where an image may have several labels.
        known: How much the image looks like those of the classes: the share of the images to validate on that look
            less so, 0 to 1; None of a model that keeps no measure of it.
        thresholds: Of several labels, from which probability on an image is said to have each, float32 (classes,).
    """

    classes: list[str]
    probabilities: np.ndarray
    known: float | None = None
    thresholds: np.ndarray | None = None

    @property
    def labels(self) -> list[str]:
        """The classes that the image is said to have, the most probable first: of several labels any number of them."""
        if self.thresholds is None:
            return [self.name]
        said = self.probabilities >= self.thresholds
        return [self.classes[i] for i in np.argsort(-self.probabilities, kind="stable") if said[i]]

    @property
    def name(self) -> str:
        """The most probable class."""
        return self.classes[int(self.probabilities.argmax())]

    @property
    def probability(self) -> float:
        """Of the most probable class."""
        return float(self.probabilities.max())

    @property
    def unknown(self) -> bool:
        """Whether the image looks like none of the classes: of 20 images to validate on 19 look more known."""
        return self.known is not None and self.known < UNKNOWN_BELOW

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The most probable classes with their probabilities.

        Raises:
            UserError: The count is negative, or no whole number.
        """
        count = whole("count", count)
        best = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.classes[i], float(self.probabilities[i])) for i in best]

    def shown(self, count: int = 5) -> list[tuple[str, float]]:
        """``top``, and of several labels all others that the image is said to have."""
        top, said = self.top(count), set(self.labels) if self.thresholds is not None else ()
        return top + [(name, p) for name, p in self.top(len(self.classes))[len(top) :] if name in said]

    def to_dict(self, count: int = 5) -> dict[str, Any]:
        """For JSON, in the words of `classify predict --json`."""
        top = [{"class": name, "probability": p} for name, p in self.shown(count)]
        labels = {} if self.thresholds is None else {"labels": self.labels}
        known = {} if self.known is None else {"known": self.known}
        return {**labels, "top": top, **known}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Classification) and _same(self, other)

    def __repr__(self) -> str:
        listed = ", ".join(f"{name} {100 * p:.1f} %" for name, p in self.top(3))
        return f"Classification({listed}{', unknown' if self.unknown else ''})"


class Object(NamedTuple):
    """One of ``Objects``; its box is x1, y1, x2, y2 in pixels of the image."""

    name: str
    score: float
    box: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Objects:
    """What a detector finds in one image, the surest first; iterating gives each as an ``Object``.

    Attributes:
        classes: Class names.
        boxes: x1, y1, x2, y2 in pixels of the image, float32 (n, 4).
        scores: 0…1, float32 (n,).
        labels: Positions in ``classes``, int64 (n,).
    """

    classes: list[str]
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    @property
    def names(self) -> list[str]:
        """The class of each box."""
        return [self.classes[label] for label in self.labels]

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Object]:
        for name, score, box in zip(self.names, self.scores.tolist(), self.boxes.tolist(), strict=True):
            yield Object(name, score, tuple(box))

    def to_dict(self) -> dict[str, Any]:
        """For JSON, in the words of `detect predict --json`."""
        return {"objects": [{"class": one.name, "score": one.score, "box": list(one.box)} for one in self]}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Objects) and _same(self, other)

    def __repr__(self) -> str:
        listed = (f"{name} {100 * score:.0f} %" for name, score in zip(self.names, self.scores, strict=True))
        return f"Objects({', '.join(listed) or 'none'})"


def _same(one: Any, other: Any) -> bool:
    return all(np.array_equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
