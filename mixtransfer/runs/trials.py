"""Trials of long work in Optuna's storage, which several processes share: of `search` and of `tune`."""

from pathlib import Path
from typing import Any

from filelock import FileLock

from mixtransfer.errors import UserError


def open_study(folder: Path, storage: str | None, verb: str, **how: Any) -> tuple[Any, Any]:
    """Optuna, and the study of a folder, which is begun or goes on.

    Args:
        folder: Without a storage of its own it holds ``trials.sqlite3``; in a database the study has its name.
        storage: A database's address; None for the folder's own.
        verb: The command; names the study in the folder's own storage.
        **how: For ``optuna.create_study``.

    Raises:
        UserError: Optuna is missing, or the storage cannot be used.
    """
    try:
        import optuna
    except ImportError as error:
        raise UserError(f"{verb} needs Optuna: pip install 'mixtransfer[search]'.") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    address, name = (storage, folder.name) if storage else (sqlite_in(folder), verb)
    try:
        with FileLock(folder / ".storage.lock"):  # two processes cannot make the tables at once
            rdb = optuna.storages.RDBStorage(address)
            return optuna, optuna.create_study(storage=rdb, study_name=name, load_if_exists=True, **how)
    except Exception as error:  # whatever the database's driver raises
        reason = " ".join(str(error).split())[:150]
        raise UserError(f"The trials cannot be kept in {address} ({reason}): choose another --storage.") from error


def sqlite_in(folder: Path) -> str:
    """The address of a SQLite file in a folder.

    Raises:
        UserError: The folder's name cannot be part of an address.
    """
    path = str(folder.resolve() / "trials.sqlite3")
    if odd := next((letter for letter in "?#%" if letter in path), None):
        raise UserError(
            f"Trials cannot be kept in {folder}, because of the {odd} in its name: choose another --output."
        )
    return f"sqlite:///{path}"
