"""Boxes as a source lists them, and what they are inside their images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mixtransfer.data.lookup import shown, some
from mixtransfer.errors import UserError

MEANT_AS_CORNERS = "most boxes reach out of their images, and none would if they were x1, y1, x2, y2: write them as"


@dataclass(frozen=True)
class ListedBoxes:
    """What one part of a source lists, before any image is opened: m images, n annotations.

    Attributes:
        files: Image files, m.
        image_ids: m whole numbers, each once.
        sizes: Width and height in pixels as the source has them, or None where it says nothing; m.
        image: Which image each annotation is of, as a position in ``files``; int64, shape (n,).
        boxes: Corners x1, y1, x2, y2, float64, shape (n, 4), as they stand in the source: possibly outside the
            image, empty or not finite.
        labels, crowd, ids: See ``Record``; shape (n,).
        area: NaN where the source has none: then the box's own; float64, shape (n,).
        relative: Whether boxes are in shares of width and height instead of pixels.
    """

    files: list[Path]
    image_ids: list[int]
    sizes: list[tuple[int, int] | None]
    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    ids: np.ndarray
    area: np.ndarray
    relative: bool = False

    def only(self, kept: np.ndarray, **changes) -> "ListedBoxes":
        """The same images with the annotations of the mask ``kept``, shape (n,)."""
        chosen = {key: getattr(self, key)[kept] for key in ("image", "boxes", "labels", "crowd", "ids", "area")}
        return replace(self, **{**chosen, **changes})

    @classmethod
    def of(
        cls,
        files: Sequence[Path],
        found: Sequence[tuple[int, int, Sequence[float]]],
        *,
        image_ids: Sequence[int] | None = None,
        sizes: Sequence[tuple[int, int] | None] | None = None,
        crowd: Sequence[bool] | None = None,
        area: Sequence[float] | None = None,
        ids: Sequence[int] | None = None,
        relative: bool = False,
    ) -> "ListedBoxes":
        """From (position of the image, label, corners) of each annotation; images and annotations are numbered from 1
        where no ids are given."""
        n = len(found)
        return cls(
            files=list(files),
            image_ids=list(image_ids or range(1, len(files) + 1)),
            sizes=list(sizes or [None] * len(files)),
            image=np.array([i for i, *_ in found], dtype=np.int64),
            boxes=np.array([box for *_, box in found], dtype=np.float64).reshape(-1, 4),
            labels=np.array([label for _, label, _ in found], dtype=np.int64),
            crowd=np.array(crowd if crowd is not None else np.zeros(n), dtype=bool),
            ids=np.array(ids if ids is not None else np.arange(1, n + 1), dtype=np.int64),
            area=np.array(area if area is not None else np.full(n, np.nan), dtype=np.float64),
            relative=relative,
        )


@dataclass(frozen=True)
class BoxFaults:
    """What is wrong with n boxes, and what they are inside their images.

    Attributes:
        clipped: Corners in pixels inside the image, float64, shape (n, 4).
        not_finite, no_size, outside, beyond: Masks of shape (n,): coordinates that are no numbers, zero or negative
            width or height, wholly outside the image, and reaching out of it by more than a pixel. At most one holds.
    """

    clipped: np.ndarray
    not_finite: np.ndarray
    no_size: np.ndarray
    outside: np.ndarray
    beyond: np.ndarray

    @property
    def usable(self) -> np.ndarray:
        return ~(self.not_finite | self.no_size | self.outside)


def box_faults(part: ListedBoxes, sizes: np.ndarray) -> BoxFaults:
    """Hold the boxes against their images.

    Args:
        part: The boxes.
        sizes: Width and height of each of its images in pixels, shape (m, 2).
    """
    bounds = np.tile(sizes[part.image], 2)
    boxes = part.boxes * bounds if part.relative else part.boxes
    finite = np.isfinite(boxes).all(axis=1)
    boxes = np.where(finite[:, None], boxes, 0.0)
    sized = finite & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    clipped = np.clip(boxes, 0, bounds)
    # float32 is what records hold: a box that vanishes in it has no area.
    width, height = (np.diff(clipped[:, axis::2].astype(np.float32), axis=1)[:, 0] for axis in (0, 1))
    kept = sized & (width > 0) & (height > 0)
    beyond = kept & (np.abs(clipped - boxes).max(axis=1, initial=0) > 1)  # less is rounding
    return BoxFaults(clipped, ~finite, finite & ~sized, sized & ~kept, beyond)


def inside_images(part: ListedBoxes, sizes: np.ndarray) -> tuple[ListedBoxes, list[str]]:
    """Clip the boxes to their images and drop those without area; the second value says what was done."""
    faults = box_faults(part, sizes)
    clipped = faults.clipped
    own_area = (clipped[:, 2] - clipped[:, 0]) * (clipped[:, 3] - clipped[:, 1])
    area = np.where(
        np.isfinite(part.area), np.where(faults.beyond, np.minimum(part.area, own_area), part.area), own_area
    )
    notes = [
        f"Boxes {what}: {mask.sum()} ({some([f'annotation {i}' for i in part.ids[mask]])})."
        for mask, what in (
            (faults.beyond, "that reach out of their image, clipped"),
            (faults.not_finite, "with coordinates that are not finite numbers, left out"),
            (faults.no_size, "of zero or negative size, left out"),
            (faults.outside, "outside their image, left out"),
        )
        if mask.any()
    ]
    kept = faults.usable
    return part.only(kept, boxes=clipped[kept], area=area[kept], relative=False), notes


def wrong_sizes(part: ListedBoxes, sizes: np.ndarray) -> tuple[list[int], list[int]]:
    """Hold the sizes that a part lists against those of its images.

    Width and height that stand the wrong way round (they are those before EXIF turns the picture, or were mixed up) do
    no harm if the boxes show that they are of the picture as it is shown: some reach out of the size that is listed,
    and none does where there is no reaching out of the picture.

    Args:
        part: The images.
        sizes: Width and height of each in pixels as it is shown, shape (m, 2); 0 where it cannot be used.

    Returns:
        Positions of the images of another size than is listed, and of those whose size is only turned.
    """
    other = [
        i
        for i, (listed, (width, height)) in enumerate(zip(part.sizes, sizes.tolist(), strict=True))
        if listed is not None and width and tuple(listed) != (width, height)
    ]
    turned = [i for i in other if tuple(part.sizes[i] or ()) == tuple(sizes[i].tolist())[::-1]]
    if not turned or part.relative:
        return other, []
    of = np.isin(part.image, turned)
    corners, shown = part.boxes[of, 2:], sizes[part.image[of]]
    beyond_listed = (corners > shown[:, ::-1] + 1).any(axis=1)
    beyond_shown = (corners > shown + 1).any(axis=1)
    if (beyond_listed & ~beyond_shown).any() and not beyond_shown.any():
        return [i for i in other if i not in set(turned)], turned
    return other, []


def size_fault(file: Path, size: Sequence[float], listed: Sequence[float], source: Path) -> str:
    """The sentence on an image of another size than is listed."""
    mend = "correct the size, or put the right image there"
    if tuple(listed) == tuple(size)[::-1]:
        mend = (
            "width and height are swapped, as stored before EXIF turns the picture; they and the boxes must be those "
            "of the picture as it is shown"
        )
    return f"{file} is {size[0]:.0f}×{size[1]:.0f} pixels, but {source} says {listed[0]:g}×{listed[1]:g}: {mend}."


def object_to(sentence: str, faults: list[str] | None) -> None:
    """Take a sentence on what cannot be used to the others, or, without a list of them, raise it.

    Raises:
        UserError: There is no list.
    """
    if faults is None:
        raise UserError(sentence)
    faults.append(sentence)


def turned_note(count: int, file: Path, source: Path) -> str:
    """The sentence on images whose listed size is only turned."""
    return (
        f"{source} has width and height of {count} images ({shown(file.name)} for one) as stored, but their boxes as "
        "in the picture that is shown, turned by EXIF: they are read so."
    )


def are_corners(values: np.ndarray, bounds: np.ndarray, centred: bool) -> bool:
    """Whether boxes that should be a place and a size can only be meant as corners: more than half reach out of their
    image, while as x1, y1, x2, y2 none does.

    Args:
        values: The place, then width and height: shape (n, 4).
        bounds: Width and height of the image of each; shape (n, 2) or (2,). NaN where they are not known.
        centred: Whether the place is the centre; otherwise left and top.
    """
    with np.errstate(invalid="ignore"):
        start, size, slack = values[:, :2], values[:, 2:], 0.01 * bounds
        beyond = (start + (size / 2 if centred else size) > bounds + slack).any(axis=1)
        corners = (start >= -slack).all(axis=1) & (size > start).all(axis=1) & (size <= bounds + slack).all(axis=1)
    return len(values) > 0 and bool(beyond.mean() > 0.5 and corners.all())


def refuse_shares(boxes: np.ndarray, where: Path, faults: list[str] | None) -> None:
    """Refuse boxes that should be in pixels if all of them can only be shares of their images.

    Args:
        boxes: Numbers of each, shape (n, 4).
        where: What lists them.
        faults: See ``object_to``.

    Raises:
        UserError: They are shares, and there is no list of faults.
    """
    if len(boxes) and np.isfinite(boxes).all() and boxes.max() <= 1:
        object_to(f"{where}: all boxes are shares of width and height (0 to 1), not pixels: convert them.", faults)
