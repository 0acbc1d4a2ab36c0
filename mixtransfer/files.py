"""Writing files so that an interrupt or a full disk never leaves half of one."""

import contextlib
import os
import tempfile
from pathlib import Path


def write_atomic(path: Path | str, data: bytes | str) -> None:
    """Write ``data`` to ``path`` whole or not at all: whoever reads sees the old content or the new.

    Raises:
        OSError: the folder cannot be written or the disk is full; the file at ``path`` is as before.
    """
    path = Path(path)
    if isinstance(data, str):
        data = data.encode("utf-8")
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise


def remove_unfinished(folder: Path) -> None:
    """Remove what ``write_atomic`` leaves in a folder when its process is killed."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)
