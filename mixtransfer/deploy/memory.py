"""How much memory a model needs, measured in a process of its own, which nothing else has grown."""

import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import torch.multiprocessing

Opener = Callable[[], dict[int, Callable[[], object]]]


def peak_memory(load: Callable[[], object], open_calls: Opener) -> dict[int, int]:
    """Bytes that each call needs at most beyond a process that has not opened the model yet.

    The calls come one after the other, each once before it counts, so that each counts what those before it keep.

    Args:
        load: What does not count is done by it, such as loading the runtime's libraries.
        open_calls: Gives a call for each batch size. Both are run in another process, so they must be functions of a
            module, or a ``functools.partial`` of one.

    Returns:
        Nothing where memory cannot be measured: elsewhere than on Linux, or if the process fails.
    """
    if sys.platform != "linux":
        return {}
    context = torch.multiprocessing.get_context("spawn")
    answer = context.SimpleQueue()
    process = context.Process(target=_report, args=(load, open_calls, answer), daemon=True)
    process.start()
    process.join()
    return answer.get() if process.exitcode == 0 else {}


def _report(load: Callable[[], object], open_calls: Opener, answer) -> None:
    load()
    before = psutil.Process().memory_info().rss
    peaks = {}
    for key, call in open_calls().items():
        call()  # runtimes compile on first use
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
        call()
        status = Path("/proc/self/status").read_text()
        peaks[key] = 1024 * int(status.split("VmHWM:")[1].split()[0]) - before
    answer.put(peaks)
