"""What a command computes on, and how it uses memory."""

import ctypes
import sys

from mixtransfer.errors import UserError

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def choose_device(name: str):
    """The ``torch.device`` of that name; "auto" is a GPU where there is one.

    Raises:
        UserError: It cannot be used here.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {name} cannot be used here; try cpu or auto.") from error
    return device


def keep_freed_memory() -> None:
    """Let the process keep the memory that it frees, for its next use.

    A network's activations are of tens of megabytes. By default glibc gives such blocks back to the system at once
    and gets them anew, page by page, in the next step: a fifth to two fifths of a training step on the CPU
    (``tools/bench_training.py`` shows it). Elsewhere than with glibc this does nothing.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, -1)  # never
