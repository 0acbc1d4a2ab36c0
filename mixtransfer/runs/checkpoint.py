"""Checkpoints: written whole or not at all, and read without running what a stranger may have put into them."""

import io
from pathlib import Path
from typing import Any

import torch

from mixtransfer.common.files import write_atomic
from mixtransfer.common.plain_torch import load_plain_torch
from mixtransfer.errors import UserError


def save_checkpoint(path: Path | str, state: dict[str, Any]) -> None:
    """Write tensors, numbers, texts and containers of them."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomic(path, buffer.getvalue())


def load_checkpoint(path: Path | str) -> dict[str, Any]:
    """Read what ``save_checkpoint`` wrote, to the CPU; pickled objects are refused, since they can run code.

    Raises:
        FileNotFoundError: There is none.
        UserError: It is damaged, holds such objects or is none.
    """
    try:
        state = load_plain_torch(path)
    except FileNotFoundError:
        raise
    except Exception as error:  # damaged bytes make the unpickler raise nearly anything
        raise UserError(
            f"{path} is damaged or holds pickled objects, which are not loaded because they can run code: "
            "remove it, and --resume begins the training anew."
        ) from error
    if not isinstance(state, dict):
        raise UserError(f"{path} is no checkpoint: remove it, and --resume begins the training anew.")
    return state
