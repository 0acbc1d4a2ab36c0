"""Ending on request: what a shell, a batch system or a container asks for is answered as Ctrl-C is."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

from mixtransfer.errors import Interrupted, UserError

TERMINATED = 128 + signal.SIGTERM  # the exit code that shells and batch systems expect
TOGETHER = 1.0  # seconds within which several signals are one request: the group's own and the parent's, say
_CHILD_ENDED = [signal.SIGCHLD] if hasattr(signal, "SIGCHLD") else []  # Windows has none


_received: list[int] = []  # signals that ask this process to end, since `sigterm_as_ctrl_c` began


def asked_to_end() -> bool:
    """Whether a signal has asked this process to end, since ``sigterm_as_ctrl_c`` began."""
    return bool(_received)


@contextlib.contextmanager
def sigterm_as_ctrl_c() -> Iterator[list[int]]:
    """Answer SIGTERM by KeyboardInterrupt, here and, as a terminal does, in every process that this one has started.

    A signal to the whole process group comes to the data-loading processes too. Their end is no error then.

    Yields:
        The signals received so far.
    """
    if threading.current_thread() is not threading.main_thread():  # where Python handles no signals
        yield _received
        return
    import psutil  # noqa: F401  now: a signal may come while others import it

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, *_CHILD_ENDED)}
    process, last = os.getpid(), -TOGETHER

    def answer(number: int, _: object) -> None:
        nonlocal last
        if os.getpid() != process and number == signal.SIGTERM:  # a fork, such as of a pool that is done with it
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        if os.getpid() == process:
            _received.append(number)
            if time.monotonic() - last < TOGETHER:
                return
            last = time.monotonic()
            for ended in _CHILD_ENDED:  # by which torch raises where a loading process has ended
                signal.signal(ended, _nothing)  # not SIG_DFL: Python complains of one that has come already
            if number == signal.SIGTERM:
                _interrupt_children()
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, answer)
    if before[signal.SIGINT] is signal.default_int_handler:  # it is ignored in the background of a shell's script
        signal.signal(signal.SIGINT, answer)
    try:
        yield _received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _received.clear()


@contextlib.contextmanager
def interruptible(go_on: Callable[[], str]) -> Iterator[None]:
    """Long work that can go on after an interrupt.

    Args:
        go_on: The sentence that says how, asked for when it is needed.

    Raises:
        Interrupted: Ctrl-C or SIGTERM, to this process or to its whole group.
        SystemExit: Of the work's own, such as of a callback.
        UserError: A data-loading process was ended from outside.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stop:
        lightnings = isinstance(stop.__context__, KeyboardInterrupt) or type(stop).__name__ == "SIGTERMException"
        if isinstance(stop, SystemExit) and not lightnings:
            raise  # a callback's own; Lightning's are its answers to Ctrl-C and SIGTERM
        raise Interrupted(f"Interrupted. {go_on()}".strip()) from stop
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):  # torch has no class of its own for these
            raise
        with contextlib.suppress(KeyboardInterrupt):
            time.sleep(0.5)  # a signal to the group may come to the loading processes first
        if _received:
            raise Interrupted(f"Interrupted. {go_on()}".strip()) from error
        how = str(error).partition("killed by signal: ")[2].partition(".")[0]
        why = ", probably for want of memory: take fewer --workers" if how == "Killed" else ""
        raise UserError(
            f"A data-loading process was ended from outside{f' ({how})' if how else ''}{why}. {go_on()}".strip()
        ) from error


def _nothing(*_: object) -> None:
    pass


def _interrupt_children() -> None:
    import psutil

    with contextlib.suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.send_signal(signal.SIGINT)
