"""What a data set and its images are called."""

import os
import unicodedata
from collections.abc import Container, Sequence
from pathlib import Path

PACKED = "hf:"  # before the name of a data set, or a folder, that ``datasets`` reads; see ``packed``


def relative_name(file: Path, root: Path) -> str:
    """A file's path below a folder, in POSIX form and in Unicode's composed form, as Macs do not write it: the same
    wherever the folder lies."""
    return unicodedata.normalize("NFC", _below(file, root))


def relative_names(files: Sequence[Path], root: Path) -> list[str]:
    """``relative_name`` of each; files that it would call the same, of which only their letters' composition differs,
    keep their own spelling."""
    names = [relative_name(file, root) for file in files]
    owners: dict[str, set[Path]] = {}
    for name, file in zip(names, files, strict=True):
        owners.setdefault(name, set()).add(file)
    if len(owners) == len(set(files)):
        return names
    return [_below(file, root) if len(owners[name]) > 1 else name for name, file in zip(names, files, strict=True)]


def real_place(file: Path) -> Path:
    """The same path of a file however its folder is reached: from another working directory, or through links. A file
    that is itself a link stays one."""
    return file.parent.resolve() / file.name


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


def _below(file: Path, root: Path) -> str:
    try:
        return file.relative_to(root).as_posix()
    except ValueError:  # one of them leads through a link
        return Path(os.path.relpath(file.resolve(), root.resolve())).as_posix()
