"""Paths that a manifest names may not lead out of its folder: it may come from a stranger."""

from pathlib import Path


def inside(folder: Path, name: str) -> Path:
    """The path ``name``, relative to ``folder`` or absolute, with links followed.

    Raises:
        ValueError: It leads out of the folder or is no path; the message is a short reason without the path.
    """
    try:
        name.encode()
        path = (folder / name).resolve()
    except (OSError, ValueError, RuntimeError) as error:  # a NUL, half a character, a loop of links
        raise ValueError(f"is not a path ({error})") from error
    if not path.is_relative_to(folder.resolve()):
        raise ValueError(f"lies outside of {folder}")
    return path
