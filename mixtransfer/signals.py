"""Ending on request: what a shell, a batch system or a container asks for is answered as Ctrl-C is."""

import contextlib
import signal
import threading
from collections.abc import Iterator

TERMINATED = 128 + signal.SIGTERM  # the exit code that shells and batch systems expect


@contextlib.contextmanager
def sigterm_as_ctrl_c() -> Iterator[list[int]]:
    """Answer SIGTERM by KeyboardInterrupt, here and, as a terminal does, in every process that this one has started.

    Yields:
        The signals received so far.
    """
    received: list[int] = []

    def answer(number: int, _: object) -> None:
        received.append(number)
        _interrupt_children()
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # where Python handles no signals
        yield received
        return
    before = signal.signal(signal.SIGTERM, answer)
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt_children() -> None:
    import psutil

    with contextlib.suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.send_signal(signal.SIGINT)
