"""Where previews go, and what those of both tasks say."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mixtransfer.data.names import data_name
from mixtransfer.report.page import Page

BATCHES = 3
IMAGES = 16  # of a batch that are shown
SIDE = 240  # pixels


def preview_path(options) -> Path:
    """The page of a training's options: beside its folder, or under runs/."""
    if options.output:
        return Path(f"{options.output.rstrip('/')}-preview.html")
    return Path("runs") / f"{data_name(options.data)}-preview.html"


def write_page(
    path: Path,
    name: str,
    notes: Sequence[str],
    batches: Sequence[Sequence[tuple[np.ndarray, str]]],
    evaluated: Sequence[tuple[np.ndarray, str]],
    how: str,
) -> None:
    """Write a page of views, uint8 (height, width, 3), with a caption each.

    Args:
        path: Of the page; its folder is made if need be.
        name: Of the data.
        notes: How the data was read, in sentences.
        batches: To train on.
        evaluated: To validate on.
        how: How they were made, in a sentence.
    """
    page = Page(f"Preview: {name}", f"What the network would see. {how}")
    for note in notes:
        page.note(note)
    for number, batch in enumerate(batches, 1):
        page.section(f"Batch {number}", f"{len(batch)} images to train on, as they are augmented.")
        page.gallery([(view, caption) for view, caption in batch], SIDE)
    page.section("Validation", "Images to validate on, as every image is seen after training.")
    page.gallery([(view, caption) for view, caption in evaluated], SIDE)
    path.parent.mkdir(parents=True, exist_ok=True)
    page.write(path)
