"""Images without labels, beside a dataset."""

from collections.abc import Callable
from pathlib import Path

from mixtransfer.data.dataset import ImageDataset
from mixtransfer.data.division import counted
from mixtransfer.data.images import find_images, find_unusable, tell_skipped
from mixtransfer.data.split_file import digests
from mixtransfer.errors import UserError


def list_unlabelled(folder: Path, dataset: ImageDataset, say: Callable[[str], None]) -> list[Path]:
    """The usable images below a folder, each once, that the dataset does not have in any part, byte for byte.

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
    of_data = set(dataset.split().digests)
    contents = digests(usable)
    first = dict(zip(reversed(contents), reversed(usable), strict=True))  # of equal files one
    files = sorted(file for content, file in first.items() if content not in of_data)
    if not files:
        raise UserError(f"--unlabelled {folder} has no usable image that the data does not have.")
    own = len(usable) - len(files)
    left_out = f"; {counted(own)} left out, the same as others or as images of the data" if own else ""
    say(f"{folder}: {counted(len(files))} without labels{left_out}.")
    return files
