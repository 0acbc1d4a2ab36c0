"""A finding: what is wrong, how badly, what to do about it, and where."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

SEVERITIES = ("error", "warning", "note")


@dataclass(frozen=True)
class Example:
    """One place where something was found.

    Attributes:
        text: The files and what is the matter with them.
        images: Positions of its images in the ``Listing``.
        boxes: Boxes to draw on the first image, in its pixels, shape (n, 4).
    """

    text: str
    images: tuple[int, ...] = ()
    boxes: np.ndarray | None = None


@dataclass(frozen=True)
class Finding:
    """Attributes:
    kind: A short name that stays, for programs.
    severity: error (mend it before training), warning (look at it), note (good to know).
    what: A sentence.
    mend: What to do, a sentence.
    examples: Every place, worst first.
    count: Number of places, if they are not all among the examples.
    """

    kind: str
    severity: Literal["error", "warning", "note"]
    what: str
    mend: str
    examples: Sequence[Example] = field(default_factory=list)
    count: int | None = None

    def to_dict(self, files: Sequence[str]) -> dict:
        """For --json, with the names ``files`` of the listing's images."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "count": len(self.examples) if self.count is None else self.count,
            "what": self.what,
            "mend": self.mend,
            "places": [{"text": one.text, "files": [files[i] for i in one.images]} for one in self.examples],
        }


def worst_first(findings: Sequence[Finding]) -> list[Finding]:
    """By severity; within one, in the order given."""
    return sorted(findings, key=lambda one: SEVERITIES.index(one.severity))
