"""What comes in: which files are taken, and why the others are not."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from mixtransfer.data.images import FORMATS, unusable_reason

MAX_MEGAPIXELS = 64  # decoded, an image of so many takes 190 MB


def admit(paths: Sequence[Path], most: int, max_megabytes: int) -> tuple[list[Path], list[str]]:
    """The files that may be decoded, and a sentence about each reason for which others may not.

    Args:
        paths: Uploaded files, in order.
        most: The largest number to take.
        max_megabytes: The largest file to take.
    """
    sentences = []
    if len(paths) > most:
        sentences.append(
            f"{len(paths)} files are too many at once: the first {most} are shown; drop the others after them."
        )
    admitted = []
    for path in paths[:most]:
        if reason := _reason(path, max_megabytes):
            sentences.append(f"{path.name} {reason}.")
        else:
            admitted.append(path)
    return admitted, sentences


def _reason(path: Path, max_megabytes: int) -> str | None:
    """Why a file may not be decoded, by its size and header; None if it may, or if decoding will say it better."""
    if not path.exists():
        return "is no longer kept here: drop it again"
    if (megabytes := path.stat().st_size / 1e6) > max_megabytes:
        return f"has {megabytes:.1f} MB, more than the {max_megabytes} that this page takes"
    try:
        with Image.open(path, formats=FORMATS) as image:
            megapixels = image.width * image.height / 1e6
    except Image.DecompressionBombError:
        return unusable_reason(path)
    except (OSError, SyntaxError, ValueError):
        return None
    if megapixels > MAX_MEGAPIXELS:
        return f"has {megapixels:.0f} megapixels, more than the {MAX_MEGAPIXELS} that this page takes"
    return None
