"""Writing files so that an interrupt or a full disk never leaves half of one."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mixtransfer.errors import UserError

LOCK = ".lock"  # in a folder that a process writes
UNFINISHED = ".*.tmp"


def write_atomic(path: Path | str, data: bytes | str) -> None:
    """Write ``data`` to ``path`` whole or not at all: whoever reads sees the old content or the new.

    Raises:
        OSError: the folder cannot be written or the disk is full; the file at ``path`` is as before.
    """
    path = Path(path)
    if isinstance(data, str):
        data = data.encode("utf-8", "backslashreplace")  # names of files need not be text
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException as error:
        if temporary:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
        if isinstance(error, OSError):
            error.filename = str(path)  # which a full disk does not name
        raise


def move_folder(made: Path, target: Path) -> None:
    """Put a folder that is finished in the place of ``target``, a folder as well if it is there.

    Raises:
        OSError: The place cannot be written or the disk is full; what was there is as before.
    """
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp") as place:
        new, old = Path(place) / "new", Path(place) / "old"
        shutil.copytree(made, new)
        if target.exists():
            target.replace(old)
        try:
            new.replace(target)
        except OSError:
            if old.exists():
                old.replace(target)
            raise


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold a folder, made if it is not there, so that no other process writes to it.

    The claim ends with the process, however that ends: what a killed one leaves behind holds nobody up.

    Raises:
        UserError: Another process holds it, or it cannot be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK, blocking=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise UserError(f"{folder} is being written by another process: wait for it, or choose another.") from None
    except FileExistsError:
        raise UserError(f"{folder} exists and is not a folder: choose another --output.") from None
    except OSError as error:
        raise UserError(f"The output folder {folder} cannot be written ({error.strerror}).") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            Path(lock.lock_file).unlink()
        lock.release()


def remove_unfinished(folder: Path) -> None:
    """Remove what ``write_atomic`` and ``move_folder`` leave in a folder when their process is killed."""
    for path in folder.glob(UNFINISHED):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def make_new(folder: Path) -> bool:
    """Make a folder, so that no other training takes its name, and tell whether it was not there before.

    One that cannot be made counts as new: whoever writes to it says what is wrong.
    """
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return False
    except OSError:
        pass
    return True


def is_unused(folder: Path) -> bool:
    """Whether a folder is not there, or holds nothing but what a killed process left of its first file."""
    if not folder.exists():
        return True
    return folder.is_dir() and all(path.name == LOCK or path.match(UNFINISHED) for path in folder.iterdir())


class Copies:
    """A folder of copies of files, each under a name that no other file there has, whatever its suffix.

    Args:
        folder: Is made if it is not there.
        option: That named it, for errors.

    Raises:
        UserError: It cannot be written.
    """

    def __init__(self, folder: Path | str, option: str):
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._taken = {file.stem for file in self.folder.iterdir()}
        except OSError as error:
            raise UserError(f"The folder {folder} of {option} cannot be written ({error.strerror}).") from error

    def path(self, source: Path, suffix: str) -> Path:
        """Where the copy of ``source`` goes."""
        names = (source.stem if i == 1 else f"{source.stem}-{i}" for i in range(1, 1_000_000))
        stem = next(name for name in names if name not in self._taken)
        self._taken.add(stem)
        return self.folder / (stem + suffix)
