"""Torch files from anywhere: tensors, numbers, texts and containers; nothing is run, and nothing is unpacked."""

import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch


def load_plain_torch(path: Path | str) -> Any:
    """What ``torch.load`` gives of a file that holds no objects, on the CPU.

    Raises:
        FileNotFoundError: There is none.
        UnpicklingError: It holds objects, which could run code.
        Exception: It is damaged, or something else; damaged bytes make the unpickler raise nearly anything.
    """
    with Path(path).open("rb") as file:
        if file.read(4) == b"PK\3\4":  # else it is of torch before 1.6
            with zipfile.ZipFile(file) as archive:
                # torch.save never compresses, but torch.load unpacks: a few kilobytes could fill the memory.
                if any(entry.compress_type or entry.file_size != entry.compress_size for entry in archive.infolist()):
                    raise ValueError("it is compressed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of what it then refuses
        return torch.load(path, map_location="cpu", weights_only=True)
