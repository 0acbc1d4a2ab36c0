"""What the package tells its user: through the logger "mixtransfer", which a command prints."""

import logging
import sys

LOGGER = logging.getLogger("mixtransfer")
LOGGER.addHandler(logging.NullHandler())


def tell(sentence: str) -> None:
    """Log a sentence on how the work goes; one that begins with "Warning:" as a warning."""
    LOGGER.log(logging.WARNING if sentence.startswith("Warning:") else logging.INFO, "%s", sentence)


def remark(sentence: str) -> None:
    """Log a sentence beside an answer that a program may read: a command prints it on the error stream."""
    LOGGER.info("%s", sentence, extra={"beside": True})


class Printer(logging.Handler):
    """Prints messages to what the standard streams are when they come."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr if getattr(record, "beside", False) else sys.stdout, flush=True)


def print_messages() -> None:
    """Print messages from now on; more calls do nothing."""
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    if not any(isinstance(handler, Printer) for handler in LOGGER.handlers):
        LOGGER.addHandler(Printer())


def in_minutes(seconds: float) -> str:
    """A duration, for a sentence."""
    return f"{seconds / 60:.0f} minutes" if seconds >= 100 else f"{seconds:.0f} seconds"


def silent(_: str) -> None:
    """Where sentences go that nobody is to read."""
