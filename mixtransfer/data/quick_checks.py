"""What can be said of a dataset in a second or two, before any training: odd class counts, and test images in the
training part."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

FEW = 10  # images, or boxes, to train a class on
FEW_TESTED = 3  # images to test a class on
IMBALANCE = 10  # the largest class over the smallest


def class_warnings(counts: Mapping[str, int], what: str = "images") -> list[str]:
    """Sentences on classes with too few training examples.

    Args:
        counts: Class name → number of training examples; those of 0 are not spoken of.
        what: The examples, in words.
    """
    counts = {name: count for name, count in counts.items() if count}
    if not counts:
        return []
    warnings = []
    if few := _fewer(counts, FEW, f"{what} to train on"):
        warnings.append(f"{few}.")
    least, most = min(counts, key=lambda name: counts[name]), max(counts, key=lambda name: counts[name])
    if counts[most] >= IMBALANCE * counts[least]:
        warnings.append(
            f"{most} has {counts[most] / counts[least]:.0f} times as many {what} to train on as {least} "
            f"({counts[most]:,} and {counts[least]:,})."
        )
    return warnings


def equal_images(train: Sequence[Path] | np.ndarray, test: Sequence[Path] | np.ndarray) -> list[tuple[int, int]]:
    """Test images that are byte for byte in the training part too, as positions (in test, in train).

    Of files only those are read that have the size of one of the other part.
    """
    if isinstance(train, np.ndarray) or isinstance(test, np.ndarray):
        known = {_digest(image): i for i, image in enumerate(train)}
        return [(i, known[key]) for i, image in enumerate(test) if (key := _digest(image)) in known]
    sizes: dict[int, list[int]] = {}
    for i, file in enumerate(train):
        sizes.setdefault(_size(file), []).append(i)
    wanted: dict[int, list[int]] = {}
    for i, file in enumerate(test):
        if (size := _size(file)) in sizes and size > 0:
            wanted.setdefault(size, []).append(i)
    found = []
    for size, tested in wanted.items():
        known = {_digest(train[i].read_bytes()): i for i in sizes[size]}
        found += [(i, known[key]) for i in tested if (key := _digest(test[i].read_bytes())) in known]
    return sorted(found)


def warn(
    counts: Mapping[str, int],
    train: Sequence[Path] | np.ndarray,
    test: Sequence[Path] | np.ndarray,
    say: Callable[[str], None],
    what: str = "images",
    tested: Mapping[str, int] | None = None,
) -> None:
    """Say what is odd about a dataset that is about to be trained on.

    Args:
        counts, what: See ``class_warnings``.
        train, test: See ``equal_images``.
        tested: Class name → number of test examples.
    """
    warnings = [*class_warnings(counts, what), *few_to_test(tested or {}), *_leak_warning(train, test)]
    for warning in warnings:
        say(f"Warning: {warning}")
    if warnings:
        say("mixtransfer doctor shows more.")


def few_to_test(counts: Mapping[str, int]) -> list[str]:
    """A sentence on classes of which a test says little, or nothing."""
    few = _fewer(counts, FEW_TESTED, "images to test on")
    return [f"{few}: their scores, and means over classes, say little."] if few else []


def _fewer(counts: Mapping[str, int], least: int, what: str) -> str:
    """How many classes have fewer than ``least``, in words without an end; empty if none has."""
    if not (few := sorted((name for name in counts if counts[name] < least), key=lambda name: counts[name])):
        return ""
    named = ", ".join(f"{name} {counts[name]}" for name in few[:5]) + (" …" if len(few) > 5 else "")
    have = "has" if len(few) == 1 else "have"
    return f"{len(few)} of {len(counts)} classes {have} fewer than {least} {what} ({named})"


def _leak_warning(train: Sequence[Path] | np.ndarray, test: Sequence[Path] | np.ndarray) -> list[str]:
    if not (found := equal_images(train, test)):
        return []
    first = found[0][0]
    named = test[first].name if isinstance(test[first], Path) else f"number {first}"
    return [
        f"{len(found)} of {len(test)} test images are in the training part too, byte for byte ({named} for one): the "
        "test score will be too high."
    ]


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _digest(contents: Any) -> bytes:
    """Of bytes or an array."""
    plain = np.ascontiguousarray(contents).data if isinstance(contents, np.ndarray) else contents
    return hashlib.blake2b(plain).digest()
