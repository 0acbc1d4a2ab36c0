"""How much memory calls need, measured in a process of its own, which nothing else has grown."""

import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import torch.multiprocessing

Opener = Callable[[], tuple[int, dict[int, Callable[[], object]]]]


def peak_memory(open_calls: Opener) -> dict[int, int]:
    """Bytes that each call needs at most beyond a process that has opened the model, the weights included.

    The calls come one after the other, so that each counts what those before it keep.

    Args:
        open_calls: Gives the size of the weights in bytes, and a call for each batch size. It is run in another
            process, so it must be a function of a module, or a ``functools.partial`` of one.

    Returns:
        Nothing where memory cannot be measured: elsewhere than on Linux, or if the process fails.
    """
    if sys.platform != "linux":
        return {}
    context = torch.multiprocessing.get_context("spawn")
    answer = context.SimpleQueue()
    process = context.Process(target=_report, args=(open_calls, answer), daemon=True)
    process.start()
    process.join()
    return answer.get() if process.exitcode == 0 else {}


def _report(open_calls: Opener, answer) -> None:
    weights, calls = open_calls()
    before = psutil.Process().memory_info().rss
    peaks = {}
    for key, call in calls.items():
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
        call()
        status = Path("/proc/self/status").read_text()
        peaks[key] = weights + 1024 * int(status.split("VmHWM:")[1].split()[0]) - before
    answer.put(peaks)
