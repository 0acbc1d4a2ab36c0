"""What the library leaves in the program that calls it as it was."""

import contextlib
import logging
import os
import random
import signal
import threading
import warnings
from collections.abc import Iterator

# Lightning's advice, which is for who writes a Trainer, and detectron2's traceback of what is raised anyway.
_TALKATIVE = ("lightning.pytorch", "lightning.fabric", "detectron2.engine.train_loop")


# A __del__ that runs meanwhile, or a handler of signals, may enter too.
_lock = threading.RLock()
_works = 0  # that are within
_left = contextlib.ExitStack()  # what the last to end restores, as the first has found it


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Leave random generators, filters, loggers, and the seeds that Lightning keeps in the environment, as they were.

    Whichever way the work ends; of several at once, in threads, when the last has ended. Within, advice of others that
    says nothing to a user is silent.
    """
    global _works
    with _lock:
        _works += 1  # first: one that begins meanwhile in this thread is then within
        if _works == 1:
            _enter()
    try:
        yield
    finally:
        with _lock:
            _works -= 1
            if not _works:
                _left.pop_all().close()  # what begins meanwhile keeps what it finds by itself


@contextlib.contextmanager
def environment(**values: str) -> Iterator[None]:
    """Set environment variables, where the user has not set them, for a moment."""
    with contextlib.ExitStack() as left:
        keep_environment(left, *values)
        os.environ.update({**values, **{name: os.environ[name] for name in values if name in os.environ}})
        yield


def _enter() -> None:
    _left.callback(random.setstate, random.getstate())  # before Lightning's import, which draws
    _keep_generators(_left)
    if threading.current_thread() is threading.main_thread():
        handler = signal.getsignal(signal.SIGINT)
        if handler is not None:  # None: of no Python code
            _left.callback(signal.signal, signal.SIGINT, handler)  # Lightning ignores it from a Ctrl-C on
    keep_environment(_left, "PL_GLOBAL_SEED", "PL_SEED_WORKERS")
    _left.enter_context(warnings.catch_warnings())
    warnings.filterwarnings("ignore", module=r"(lightning|torch\.utils\._pytree)")
    warnings.filterwarnings("ignore", message="Grad strides do not match")  # of 1×1 kernels, which have several
    for name in _TALKATIVE:
        logger = logging.getLogger(name)
        _left.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.CRITICAL)


def _keep_generators(left: contextlib.ExitStack) -> None:
    from lightning.pytorch.utilities.seed import isolate_rng

    isolated = isolate_rng()
    isolated.__enter__()
    left.callback(isolated.__exit__, None, None, None)  # told of an exception, it would restore nothing


def keep_environment(left: contextlib.ExitStack, *names: str) -> None:
    """Have environment variables, set or not, be as they are now when ``left`` ends."""

    def restore() -> None:
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    kept = {name: os.environ.get(name) for name in names}
    left.callback(restore)
