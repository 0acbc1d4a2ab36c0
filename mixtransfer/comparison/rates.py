"""The learning rate of each backbone, chosen on validation by short trainings: one rate for all would favour some.

Each rate is tried from the same start, the head that is fitted on the frozen network's features, and for the same few
epochs. The test part is never looked at.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock

from mixtransfer.common.files import write_atomic
from mixtransfer.common.messages import tell
from mixtransfer.common.signals import interruptible
from mixtransfer.data.split_file import Split
from mixtransfer.errors import UserError

if TYPE_CHECKING:
    from mixtransfer.comparison.trial import Trial

RATES = "rates.json"  # in the study's folder
FACTORS = (1.0, 1 / 3, 3.0)  # of the usual rate, which comes first
SHARE = 0.25  # of the epochs of a training


def short_epochs(epochs: int) -> int:
    """Epochs of the short training at each rate."""
    return max(1, round(SHARE * epochs))


def sweep_epochs(epochs: int) -> int:
    """Epochs that choosing the rate takes for trainings of ``epochs``."""
    return len(FACTORS) * short_epochs(epochs)


def read_rates(file: Path) -> dict[str, dict]:
    """What was tried and chosen: by ``Job.rate``, ``tried`` (each with ``lr``, ``log_loss`` and ``losses``),
    ``seconds``, ``epochs`` and, in the end, ``chosen``."""
    try:
        rates = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    except (OSError, ValueError, RecursionError):
        rates = None
    if not isinstance(rates, dict) or not all(isinstance(entry, dict) for entry in rates.values()):
        raise UserError(f"{file} is damaged: remove it, and the learning rates are chosen again.")
    return rates


def chosen_rate(file: Path, name: str) -> float | None:
    """The learning rate that was chosen; None as long as none is."""
    return read_rates(file).get(name, {}).get("chosen")


def best_rate(losses: dict[float, np.ndarray]) -> float:
    """The rate with the least mean log loss; the usual one unless it is worse by more than a standard error.

    A few dozen validation images cannot tell neighbouring rates apart, and a short training likes larger ones than a
    long training does.

    Args:
        losses: Log loss of each validation image after training at each rate, the usual rate first; infinite where
            the training diverged.

    Raises:
        UserError: It diverged at all of them.
    """
    usual = next(iter(losses))
    best = min(losses, key=lambda rate: losses[rate].mean())
    if np.isinf(losses[best]).any():
        rates = ", ".join(f"{rate:.2g}" for rate in losses)
        raise UserError(f"The training diverged at every learning rate that was tried ({rates}): give a lower --lr.")
    if np.isinf(losses[usual]).any():
        return best
    gap = losses[usual] - losses[best]
    return best if gap.mean() > gap.std() / len(gap) ** 0.5 else usual


def sweep(options, file: Path, name: str, split: Split) -> None:
    """Try all rates that have not been tried yet, and note which one is chosen.

    Args:
        options: Of the training, whose learning rate is open.
        file: The study's ``rates.json``, which several processes may write.
        name: Of the entry, see ``Job.rate``.
        split: The study's.

    Raises:
        UserError: An option or the data cannot be used, or every training diverged.
        Interrupted: Ctrl-C; what was tried is noted.
    """
    from mixtransfer.comparison.trial import Trial

    with interruptible(lambda: ""):
        start = time.perf_counter()
        trial = Trial(options, split)
        epochs = short_epochs(trial.epochs)
        for factor in FACTORS:
            lr = float(f"{factor * trial.usual:.2g}")
            if any(one["lr"] == lr for one in read_rates(file).get(name, {}).get("tried", [])):
                continue
            losses = _losses(trial, lr, epochs)
            said = "diverged" if losses is None else f"validation log loss {losses.mean():.4f}"
            tell(f"Learning rate {lr:.2g}: {said} after {epochs} epochs.")
            with _entry(file, name) as entry:
                entry.setdefault("tried", []).append(
                    {
                        "lr": lr,
                        "log_loss": None if losses is None else round(float(losses.mean()), 5),
                        "losses": None if losses is None else np.round(losses, 5).tolist(),
                    }
                )
                entry["epochs"] = epochs
                entry["seconds"] = round(entry.get("seconds", 0) + time.perf_counter() - start, 1)
            start = time.perf_counter()
    with _entry(file, name) as entry:
        entry["chosen"] = best_rate({one["lr"]: np.array(one["losses"] or [np.inf]) for one in entry["tried"]})
    tell(f"Learning rate {entry['chosen']:.2g} is chosen.")


def _losses(trial: "Trial", lr: float, epochs: int) -> np.ndarray | None:
    try:
        return trial.losses(lr, epochs)
    except UserError:  # the answers are no numbers any more
        return None


@contextlib.contextmanager
def _entry(file: Path, name: str) -> Iterator[dict]:
    """One entry to change, while nobody else changes the file."""
    with FileLock(file.with_name(f".{file.name}.lock")):
        rates = read_rates(file)
        yield rates.setdefault(name, {})
        write_atomic(file, json.dumps(rates, indent=1) + "\n")
