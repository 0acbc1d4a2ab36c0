"""Images without labels, beside a dataset."""

from collections.abc import Callable
from pathlib import Path

from mixtransfer.data.dataset import ImageDataset
from mixtransfer.data.division import counted
from mixtransfer.data.images import find_images, find_unusable, tell_skipped
from mixtransfer.errors import UserError


def list_unlabelled(folder: Path, dataset: ImageDataset, say: Callable[[str], None]) -> list[Path]:
    """The usable images below a folder that the dataset does not have, by their contents, in any part.

    Args:
        say: Where sentences for the user go.

    Raises:
        UserError: There is none.
    """
    if not folder.is_dir():
        raise UserError(f"--unlabelled {folder} is no folder.")
    found = find_images([str(folder)])
    skipped = find_unusable(found)
    tell_skipped(skipped, say)
    usable = [file for file in found if file not in skipped]
    parts = dataset.split().known(usable)
    files = [file for file, part in zip(usable, parts, strict=True) if not part]
    if not files:
        raise UserError(f"--unlabelled {folder} has no usable image that the data does not have.")
    own = len(usable) - len(files)
    left_out = f"; {counted(own)} of the data itself {'is' if own == 1 else 'are'} left out" if own else ""
    say(f"{folder}: {counted(len(files))} without labels{left_out}.")
    return files
