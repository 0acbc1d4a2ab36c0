"""How the C library hands out memory."""

import ctypes
import sys

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


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
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
