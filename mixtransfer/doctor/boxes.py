"""Findings about boxes: outside, without size, twice, of undeclared classes, too small or too long for the anchors."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mixtransfer.data.detection.boxes import BoxFaults, ListedBoxes, box_faults, wrong_sizes
from mixtransfer.data.detection.dataset import LARGE, SMALL
from mixtransfer.data.division import counted
from mixtransfer.data.lookup import some
from mixtransfer.detection.spec import DetectorSpec
from mixtransfer.doctor.finding import Example, Finding
from mixtransfer.doctor.listing import Listing
from mixtransfer.doctor.looking import Look

if TYPE_CHECKING:
    from mixtransfer.data.detection.square import Square

SAME_BOX = 0.9  # IoU from which on two boxes are in the same place, whatever their classes
FEW_COVERED = 0.95  # share of boxes that anchors should reach


@dataclass(frozen=True)
class PartBoxes:
    """The boxes of one part beside the looks at its images.

    Attributes:
        listed: As listed, of usable images only.
        members: Position in the ``Listing`` of each of the part's images.
        sizes: Width and height of these images, shape (m, 2).
        faults: What is wrong with the boxes.
    """

    listed: ListedBoxes
    members: np.ndarray
    sizes: np.ndarray
    faults: BoxFaults

    @classmethod
    def of(cls, listing: Listing, looks: Sequence[Look], part: str) -> "PartBoxes":
        members = listing.members(part)
        usable = np.array([looks[i].reason is None for i in members], dtype=bool)
        sizes = np.array([(looks[i].width, looks[i].height) for i in members], dtype=np.float64).reshape(-1, 2)
        listed = listing.boxes[part]
        listed = listed.only(usable[listed.image])
        return cls(listed, members, sizes, box_faults(listed, sizes))

    @property
    def targets(self) -> np.ndarray:
        """Mask of the boxes that are trained on."""
        return self.faults.usable & ~self.listed.crowd

    @property
    def area(self) -> np.ndarray:
        """Of each box inside its image, in square pixels."""
        return (self.faults.clipped[:, 2:] - self.faults.clipped[:, :2]).prod(axis=1)

    def counts(self, classes: Sequence[str]) -> dict[str, int]:
        counts = np.bincount(self.listed.labels[self.targets], minlength=len(classes))
        return dict(zip(classes, counts.tolist(), strict=True))


def box_findings(
    listing: Listing,
    looks: Sequence[Look],
    parts: dict[str, PartBoxes],
    overlap: np.ndarray | None,
    size: int,
) -> list[Finding]:
    """All that is odd about the boxes.

    Args:
        listing, looks: The images.
        parts: Their boxes.
        overlap: See ``overlaps``; None if the anchors are not known.
        size: Side in pixels of the square that a detector would be shown.
    """
    findings = [
        Finding(
            "unusable_annotation",
            "error",
            f"{counted(len(listing.faults), 'annotation')} cannot be used; training stops at the first.",
            "Correct the annotation file.",
            [Example(sentence) for sentence in listing.faults],
        ),
        _wrong_sizes(listing, looks, parts),
        _turned_sizes(listing, parts),
        _faulty(listing, parts, "not_finite", "warning", "with coordinates that are no finite numbers", "left out"),
        _faulty(listing, parts, "no_size", "warning", "of zero or negative width or height", "left out"),
        _faulty(listing, parts, "outside", "warning", "wholly outside their image", "left out"),
        _faulty(listing, parts, "beyond", "note", "that reach out of their image by more than a pixel", "clipped"),
        _twice(listing, parts),
        _uncovered(listing, parts, overlap, size),
        _none_at_all(listing, parts),
        _empty(listing, parts),
        _crowds(listing, parts),
    ]
    return [finding for finding in findings if finding and finding.examples]


def overlaps(parts: dict[str, PartBoxes], anchors: np.ndarray, square: "Square") -> np.ndarray:
    """The largest IoU of each box with an anchor, part by part; see ``best_overlap``.

    Args:
        square: What a detector is shown of images, in shares of which the anchors are.
    """
    from mixtransfer.detection.coverage import best_overlap

    return best_overlap(np.concatenate([_shares(part, square) for part in parts.values()]), anchors)


def with_fitting_anchors(spec: DetectorSpec, parts: dict[str, PartBoxes]) -> DetectorSpec:
    """A detector with the anchors that training would give it; see ``fitting_scales``.

    Raises:
        UserError: detectron2 is missing.
    """
    from mixtransfer.detection.coverage import fitting_scales

    part = parts["train" if "train" in parts else "all"]
    return replace(spec, anchors=fitting_scales(_shares(part, spec.square), part.listed.labels[part.targets], spec))


def _shares(part: PartBoxes, square: "Square") -> np.ndarray:
    """Boxes to train on, in shares of the squares that a detector is shown."""
    width, height = part.sizes[part.listed.image[part.targets]].T
    return square.into(part.faults.clipped[part.targets], width, height) / square.size


def box_statistics(parts: dict[str, PartBoxes], overlap: np.ndarray | None) -> dict:
    """Numbers of boxes, crowds and images without boxes, sizes after COCO, the share that some anchor reaches."""
    area = np.concatenate([part.area[part.targets] for part in parts.values()])
    side = np.sqrt(area)
    statistics = {
        "boxes": len(area),
        "crowd": sum(int(part.listed.crowd.sum()) for part in parts.values()),
        "images_without_boxes": sum(len(_without_boxes(part)) for part in parts.values()),
        "sizes": {
            "small": int((area < SMALL).sum()),
            "medium": int(((area >= SMALL) & (area < LARGE)).sum()),
            "large": int((area >= LARGE).sum()),
        },
        "side": dict(zip(("least", "median", "most"), np.quantile(side, [0, 0.5, 1]).round(1).tolist(), strict=True))
        if len(area)
        else None,
    }
    if overlap is not None and len(overlap):
        from mixtransfer.detection.coverage import shares_by_size

        statistics["covered_by_anchors"] = shares_by_size(overlap >= 0.5, area)
    return statistics


def _wrong_sizes(listing: Listing, looks: Sequence[Look], parts: dict[str, PartBoxes]) -> Finding:
    examples = []
    for part in parts.values():
        for place in wrong_sizes(part.listed, part.sizes)[0]:
            i, said = int(part.members[place]), part.listed.sizes[place] or ("?", "?")
            size = f"{looks[i].width}×{looks[i].height}"
            examples.append(Example(f"{listing.short(i)} is {size} pixels, listed as {said[0]}×{said[1]}", (i,)))
    return Finding(
        "wrong_size",
        "error",
        f"{counted(len(examples), 'image')} of another size than listed; training stops at the first.",
        "Correct the sizes, or put the right images there: otherwise the boxes are in the wrong places.",
        examples,
    )


def _turned_sizes(listing: Listing, parts: dict[str, PartBoxes]) -> Finding:
    places = [int(part.members[i]) for part in parts.values() for i in wrong_sizes(part.listed, part.sizes)[1]]
    return Finding(
        "turned_size",
        "note",
        f"{counted(len(places), 'image')} listed with the size as stored, and boxes of the picture as it is shown.",
        "They are read so: EXIF turns the picture, as people saw it.",
        [Example(listing.short(i), (i,)) for i in places],
    )


def _faulty(listing: Listing, parts: dict[str, PartBoxes], kind: str, severity, what: str, done: str) -> Finding:
    examples = [
        _at(listing, part, box, f"annotation {part.listed.ids[box]}")
        for part in parts.values()
        for box in np.flatnonzero(getattr(part.faults, kind)).tolist()
    ]
    mend = f"Correct them; training has them {done}."
    return Finding(f"box_{kind}", severity, f"{counted(len(examples), 'box', 'boxes')} {what}.", mend, examples)


def _twice(listing: Listing, parts: dict[str, PartBoxes]) -> Finding:
    from mixtransfer.detection.mistakes import box_iou

    examples = []
    for part in parts.values():
        targets = np.flatnonzero(part.targets)
        order = targets[np.argsort(part.listed.image[targets], kind="stable")]
        for boxes in np.split(order, np.flatnonzero(np.diff(part.listed.image[order])) + 1):
            if len(boxes) < 2:
                continue
            corners = part.faults.clipped[boxes]
            for i, j in zip(*np.nonzero(np.triu(box_iou(corners, corners) >= SAME_BOX, 1)), strict=True):
                one, other = boxes[i], boxes[j]
                names = sorted({listing.classes[part.listed.labels[k]] for k in (one, other)})
                text = f"annotations {part.listed.ids[one]} and {part.listed.ids[other]}, {' and '.join(names)}"
                examples.append(_at(listing, part, one, text, other))
    return Finding(
        "box_twice",
        "warning",
        f"{counted(len(examples), 'pair')} of boxes in the same place (IoU of {SAME_BOX} and more).",
        "Take one of each pair out, unless two objects do cover one another.",
        examples,
    )


def _uncovered(listing: Listing, parts: dict[str, PartBoxes], overlap: np.ndarray | None, size: int) -> Finding | None:
    if overlap is None or not len(overlap) or (overlap >= 0.5).mean() >= FEW_COVERED:
        return None
    places = [(part, box) for part in parts.values() for box in np.flatnonzero(part.targets).tolist()]
    worst = [k for k in np.argsort(overlap, kind="stable").tolist() if overlap[k] < 0.5]
    return Finding(
        "box_uncovered",
        "warning",
        f"{100 * len(worst) / len(overlap):.1f} % of the boxes ({len(worst):,} of {len(overlap):,}) are overlapped by "
        f"no anchor by half at {size} pixels: they are hard to learn.",
        "A larger --image-size does not help, as anchors scale with the image, and these are fitted to the boxes "
        "already (--anchors auto): cut the images into tiles, if the small objects matter.",
        [
            _at(listing, part, box, f"annotation {part.listed.ids[box]}, IoU {overlap[k]:.2f}")
            for k, (part, box) in ((k, places[k]) for k in worst)
        ],
    )


def _none_at_all(listing: Listing, parts: dict[str, PartBoxes]) -> Finding:
    """Parts in which no box is left to go by, which training refuses."""
    empty = [name for name, part in parts.items() if len(part.members) and not part.targets.any()]
    return Finding(
        "part_without_boxes",
        "error",
        f"Training refuses {'data' if empty == ['all'] else f'the part {some(empty)}'} of which no box can be used.",
        "Look whether the labels lie where they are looked for, and whether the findings above leave any of them.",
        [Example(f"{counted(len(parts[name].members), 'image')} in {name}") for name in empty],
    )


def _empty(listing: Listing, parts: dict[str, PartBoxes]) -> Finding:
    examples = [
        Example(listing.short(i), (i,)) for part in parts.values() for i in part.members[_without_boxes(part)].tolist()
    ]
    return Finding(
        "no_boxes",
        "note",
        f"{counted(len(examples), 'image')} without a box.",
        "Right for images that show none of the objects; look whether some were forgotten.",
        examples,
    )


def _crowds(listing: Listing, parts: dict[str, PartBoxes]) -> Finding:
    examples = [
        Example(
            f"{listing.short(int(part.members[image]))}, {counted(count, 'box', 'boxes')}", (int(part.members[image]),)
        )
        for part in parts.values()
        for image, count in Counter(part.listed.image[part.listed.crowd].tolist()).most_common()
    ]
    return Finding(
        "crowd",
        "note",
        f"{counted(len(examples), 'image')} with boxes marked as crowd or difficult.",
        "They are no training targets, and evaluation passes over them.",
        examples,
    )


def _without_boxes(part: PartBoxes) -> np.ndarray:
    """Which of a part's usable images no usable box is of."""
    boxed = np.bincount(part.listed.image[part.targets], minlength=len(part.members)) > 0
    return np.flatnonzero(~boxed & (part.sizes[:, 0] > 0))


def _at(listing: Listing, part: PartBoxes, box: int, text: str, *others: int) -> Example:
    i = int(part.members[part.listed.image[box]])
    return Example(f"{listing.short(i)}, {text}", (i,), part.faults.clipped[[box, *others]])
