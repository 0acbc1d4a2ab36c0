"""Each image once: in one part, and there one time."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mixtransfer.data.division import counted
from mixtransfer.errors import UserError

KEPT = ("test", "val", "train", "all")  # of an image in two parts the first: it is not trained on


def each_once(files: Mapping[str, Sequence[Path]], source: Path | str) -> tuple[dict[str, np.ndarray], list[str]]:
    """Which images of each part count, so that no file is in two parts or twice in one.

    Args:
        files: Of each part.
        source: What lists them, for messages.

    Returns:
        Ascending positions for each part that has some, and what was done, in sentences.

    Raises:
        UserError: The training images are all in other parts too.
    """
    own = {part: set(files[part]) for part in KEPT if part in files}
    notes: list[str] = []
    for part in [part for part in own if part not in ("train", "all") and own[part] == own.get("train")]:
        notes.append(f"The {part} part of {source} has the same images as train, so it is passed over.")
        del own[part]
    kept: dict[str, np.ndarray] = {}
    seen: dict[Path, str] = {}
    for part in own:
        for other in kept:
            if common := [file for file in own[part] if seen.get(file) == other]:
                notes.append(
                    f"{counted(len(common))} of {source} {'is' if len(common) == 1 else 'are'} in both {part} and "
                    f"{other} ({min(common).name} for one), and count{'s' if len(common) == 1 else ''} as {other}."
                )
        if twice := len(files[part]) - len(own[part]):
            notes.append(f"{source} lists {counted(twice)} more than once in one part: each counts once.")
        places = [i for i, file in enumerate(files[part]) if file not in seen and seen.setdefault(file, part) == part]
        if places:
            kept[part] = np.array(places, dtype=np.int64)
    if "train" in own and own["train"] and "train" not in kept:
        raise UserError(f"All training images of {source} are in its other parts too: take them out of one.")
    return {part: kept[part] for part in files if part in kept}, notes
