"""Commands in processes of their own, which can be killed.

They are forked from a process that has imported the libraries already, which is most of what a command's start takes.
"""

import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict

from mixtransfer.commandline.cli import main

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["mixtransfer.classification.commands"])


class Command:
    """A command of mixtransfer that has been started.

    Args:
        words: Its command line.
        before: A function of a module that is called in the process first.
    """

    def __init__(self, *words: object, before: Callable[[], None] | None = None):
        reader, writer = _FORKS.Pipe(duplex=False)
        self._errors = tempfile.NamedTemporaryFile("r", suffix=".txt")  # noqa: SIM115  lives as long as this
        arguments = (list(map(str, words)), writer, self._errors.name, before)
        self.process = _FORKS.Process(target=_run, args=arguments)
        self.process.start()
        writer.close()
        self._output = os.fdopen(os.dup(reader.fileno()))
        reader.close()

    def wait_for(self, start: str) -> None:
        """Until a line of its output begins so."""
        for line in self._output:
            if line.startswith(start):
                return
        raise AssertionError(f"no line begins with {start!r}; errors: {self.errors}")

    def end(self) -> int:
        """Wait for its end: the exit code, or the number of the signal that killed it, below zero."""
        self._output.read()
        self._output.close()
        self.process.join()
        return self.process.exitcode

    @property
    def errors(self) -> str:
        self._errors.seek(0)
        return self._errors.read()


def _run(words: list[str], writer, errors: str, before: Callable[[], None] | None) -> None:
    os.dup2(writer.fileno(), 1)
    os.dup2(os.open(errors, os.O_WRONLY | os.O_APPEND), 2)
    writer.close()
    # The inherited streams may believe that they are files that can be sought in, as when pytest's output goes to one.
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the fork server ignores it
    if before:
        before()
    sys.exit(main(words))


def words_of(options: object) -> list[str]:
    """The command line of training options."""
    given = {key: value for key, value in asdict(options).items() if value is not None and key != "data"}
    return [options.data, *(f"--{key.replace('_', '-')}={_word(value)}" for key, value in given.items())]


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
