"""What a data set and its images are called."""

import os
import unicodedata
from collections.abc import Container
from pathlib import Path

PACKED = "hf:"  # before the name of a data set, or a folder, that ``datasets`` reads; see ``packed``


def relative_name(file: Path, root: Path) -> str:
    """A file's path below a folder, in POSIX form and in Unicode's composed form, as Macs do not write it: the same
    wherever the folder lies."""
    try:
        name = file.relative_to(root)
    except ValueError:  # one of them leads through a link
        name = Path(os.path.relpath(file.resolve(), root.resolve()))
    return unicodedata.normalize("NFC", name.as_posix())


def settled(data: str, names: Container[str]) -> str:
    """DATA as it means the same from every working directory: an absolute path, unless it is one of ``names``."""
    path = Path(data)
    if data.startswith(PACKED) and Path(data.removeprefix(PACKED)).is_dir():
        return PACKED + settled(data.removeprefix(PACKED), ())
    if data in names or not path.exists():
        return data
    return str(path.resolve() if ".." in path.parts else path.absolute())


def data_name(data: str | Path) -> str:
    """What to call a data set: by its folder, or by its file without suffix."""
    path = Path(settled(str(data), ()).removeprefix(PACKED))
    return path.name if path.is_dir() else path.stem


def same_data(one: str, other: str) -> bool:
    """Whether both are the same name or lead to the same place."""
    return one == other or Path(one).exists() and Path(one).resolve() == Path(other).resolve()
