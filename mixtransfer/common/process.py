"""What only a command does to its process: the library leaves that of its host as it is."""

import ctypes
import logging
import os
import sys
import warnings

from mixtransfer.common.messages import print_messages

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def prepare_process() -> None:
    """Print messages, silence those of others that say nothing to a user, and keep freed memory.

    A command calls it, and each process that one starts for itself.
    """
    print_messages()
    _silence_others()
    keep_freed_memory()


def let_waiting_threads_sleep() -> None:
    """Have threads that wait for others sleep soon: beside another busy process they would take its time and so theirs.

    By default libgomp's spin for milliseconds. To sleep at once costs a third of the speed of an idle machine; 1,000
    turns cost a twentieth (``tools/bench_busy.py``). It reads this when torch is loaded, so it has to be set before;
    child processes inherit it. A policy of the user's own stays as it is.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


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


class _Others(logging.Handler):
    """Warnings of other packages, on the error stream, as Python shows them where nobody has set up logging."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)


def _silence_others() -> None:
    """Of Lightning its advice (what a user needs to know, this package says), of detectron2 the traceback of what
    becomes a sentence, of Pillow what is odd but read well."""
    root = logging.getLogger()
    if not root.hasHandlers():  # where there are none, Lightning sets up its own when it is imported
        root.addHandler(_Others(logging.WARNING))
    for name in ("lightning.pytorch", "lightning.fabric", "detectron2.engine.train_loop"):
        logger = logging.getLogger(name)
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
    warnings.filterwarnings("ignore", module=r"lightning\..*")
    warnings.filterwarnings("ignore", message="Grad strides do not match")  # of 1×1 kernels, which have several
    # Pillow warns from 89 megapixels and refuses from 179; large photographs are welcome, so only the refusal stays.
    # And odd metadata (a broken EXIF block, a palette with byte transparency) says nothing about the pixels.
    warnings.filterwarnings("ignore", message=r"Image size .* exceeds limit", category=Warning)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\..*")
