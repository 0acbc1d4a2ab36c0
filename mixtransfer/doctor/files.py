"""Findings about single files: unusable, plain, tiny, misnamed, forgotten; and what sizes and colours there are."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mixtransfer.data.division import counted
from mixtransfer.data.names import real_place
from mixtransfer.data.tree import Tree
from mixtransfer.doctor.duplicates import PLAIN
from mixtransfer.doctor.finding import Example, Finding
from mixtransfer.doctor.listing import Listing
from mixtransfer.doctor.looking import Look

TINY = 32  # pixels of the shorter side
LONG = 4  # longer over shorter side
# Formats that Pillow tells apart and nobody else does.
SAME_FORMAT = {"MPO": "JPEG", "DIB": "BMP"}


def file_findings(listing: Listing, looks: Sequence[Look]) -> list[Finding]:
    usable = [i for i, look in enumerate(looks) if look.reason is None]

    def chosen(kind, severity, what, mend, reasons: dict[int, str]) -> Finding | None:
        if not reasons:
            return None
        examples = [Example(f"{listing.short(i)} {reason}", (i,)) for i, reason in reasons.items()]
        return Finding(kind, severity, f"{counted(len(reasons), 'image')} {what}.", mend, examples)

    findings = [
        chosen(
            "unusable", "warning", "cannot be used", "Mend or drop them (--fix-list); training leaves them out.",
            {i: look.reason for i, look in enumerate(looks) if look.reason},
        ),
        chosen(
            "plain", "warning", "of a single colour: there is nothing to see", "Look at them: they teach nothing.",
            {i: "is of one colour" for i in usable if looks[i].spread < PLAIN},
        ),
        chosen(
            "tiny", "note", f"with a shorter side of less than {TINY} pixels", "Look for larger originals.",
            {i: f"is {looks[i].width}×{looks[i].height} pixels" for i in usable if _shorter(looks[i]) < TINY},
        ),
        chosen(
            "long", "note", f"more than {LONG} times as long as wide",
            "Crop them: a square of such an image shows little of it.",
            {
                i: f"is {looks[i].width}×{looks[i].height} pixels"
                for i in usable
                if max(looks[i].width, looks[i].height) > LONG * _shorter(looks[i])
            },
        ),
        chosen(
            "misnamed", "note", "of another format than their names say",
            "Nothing need be done for mixtransfer; other programs may stumble.",
            {i: f"is {looks[i].format}" for i in usable if _is_misnamed(listing.images[i], looks[i].format)},
        ),
        _unlisted(listing),
    ]  # fmt: skip
    return [finding for finding in findings if finding]


def image_statistics(looks: Sequence[Look]) -> dict:
    """Of the usable images: their number, megabytes, quantiles of width, height and aspect ratio, colour modes and
    formats."""
    usable = [look for look in looks if look.reason is None]
    if not usable:
        return {"images": 0}
    width, height = (np.array([getattr(look, side) for look in usable]) for side in ("width", "height"))

    def quantiles(values: np.ndarray) -> dict[str, float]:
        return dict(zip(("least", "median", "most"), np.quantile(values, [0, 0.5, 1]).round(2).tolist(), strict=True))

    return {
        "images": len(usable),
        "megabytes": round(sum(look.size for look in usable) / 1e6, 1),
        "width": quantiles(width),
        "height": quantiles(height),
        "aspect_ratio": quantiles(width / height),
        "modes": dict(Counter(look.mode for look in usable).most_common()),
        "formats": dict(Counter(look.format for look in usable if look.format).most_common()),
    }


def _shorter(look: Look) -> int:
    return min(look.width, look.height)


def _is_misnamed(image: Path | np.ndarray, form: str) -> bool:
    said = Image.registered_extensions().get(image.suffix.lower()) if isinstance(image, Path) else None
    return said is not None and SAME_FORMAT.get(said, said) != SAME_FORMAT.get(form, form)


def _unlisted(listing: Listing) -> Finding | None:
    """Files in the dataset's folder that nothing lists: images outside the classes or the annotations, and photographs
    in formats that are not read."""
    root = listing.source
    if root is None or not root.is_dir():
        return None
    tree, listed = Tree(root), {real_place(image) for image in listing.images if isinstance(image, Path)}
    texts = [f"{name} is an image" for name in tree.images if real_place(root / name) not in listed]
    texts += [f"{name} is a photograph in a format that is not read" for name in tree.unread]
    examples = [Example(text) for text in sorted(texts)]
    if not examples:
        return None
    what = "belongs" if len(examples) == 1 else "belong"
    return Finding(
        "unlisted",
        "note",
        f"{counted(len(examples), 'file')} in the folder {what} to no "
        f"{'class' if listing.task == 'classify' else 'annotation file'}, and will not be seen.",
        "Move or list them, or convert them to JPEG, if they should count.",
        examples,
    )
