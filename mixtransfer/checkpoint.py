"""Checkpoints: written whole or not at all, and read without running what a stranger may have put into them."""

import io
from pathlib import Path
from typing import Any

import torch

from mixtransfer.errors import UserError
from mixtransfer.files import write_atomic


def save_checkpoint(path: Path | str, state: dict[str, Any]) -> None:
    """Write tensors, numbers, texts and containers of them."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomic(path, buffer.getvalue())


def load_checkpoint(path: Path | str) -> dict[str, Any]:
    """Read what ``save_checkpoint`` wrote, to the CPU; pickled objects are refused, since they can run code.

    Raises:
        FileNotFoundError: There is none.
        UserError: It is damaged or holds such objects.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # damaged bytes make the unpickler raise nearly anything
        raise UserError(
            f"{path} is damaged or holds pickled objects, which are not loaded because they can run code: "
            "remove it, and --resume begins the training anew."
        ) from error
