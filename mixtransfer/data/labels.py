"""Labels of images: the class of each, or which of the classes each one shows (several labels).

The class of each is int64 (n,); several labels are uint8 (n, classes) of 0 and 1, and an image may show none.
"""

from collections.abc import Iterator, Sequence

import numpy as np

SEPARATOR = ";"  # of the labels of an image, in tables


def is_multilabel(labels: np.ndarray) -> bool:
    """Whether images may have several labels."""
    return labels.ndim == 2


def class_counts(labels: np.ndarray, classes: int) -> np.ndarray:
    """How many images have each class, int64 (classes,)."""
    return labels.sum(axis=0, dtype=np.int64) if is_multilabel(labels) else np.bincount(labels, minlength=classes)


def members_of_classes(labels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each class that occurs, with the ascending positions of its images; of single labels those below 0 are none."""
    if is_multilabel(labels):
        pairs = ((label, np.flatnonzero(column)) for label, column in enumerate(labels.T))
        yield from ((label, own) for label, own in pairs if len(own))
        return
    order = np.argsort(labels, kind="stable")
    order = order[labels[order] >= 0]
    found, starts = np.unique(labels[order], return_index=True)
    yield from zip(found.tolist(), np.split(order, starts[1:]), strict=bool(len(found)))


def label_names(labels: np.ndarray, classes: Sequence[str]) -> list[str]:
    """The class of each image in words; of several labels all, with ``SEPARATOR`` between."""
    if is_multilabel(labels):
        return [SEPARATOR.join(classes[i] for i in np.flatnonzero(row).tolist()) for row in labels]
    return [classes[label] for label in labels]


def names_in(text: str, multilabel: bool) -> list[str]:
    """The classes in a text that ``label_names`` gives."""
    return [name for name in text.split(SEPARATOR) if name] if multilabel else [text]


def indicators(names: Sequence[Sequence[str]], classes: Sequence[str]) -> np.ndarray:
    """Several labels of images as numbers, uint8 (n, classes)."""
    index = {name: i for i, name in enumerate(classes)}
    labels = np.zeros((len(names), len(classes)), dtype=np.uint8)
    for row, own in zip(labels, names, strict=True):
        row[[index[name] for name in own]] = 1
    return labels


def some_of_each(labels: np.ndarray, classes: int, most: int) -> np.ndarray:
    """Positions of about as many images as are wanted at most, of each class as many where there are as many, in order.

    Of several labels an image may be chosen by each of its own; what is left of ``most`` is drawn from the others.
    """
    order = np.random.default_rng(0).permutation(len(labels))
    each = -(-most // classes)
    if not is_multilabel(labels):
        return np.sort(np.concatenate([order[labels[order] == label][:each] for label in range(classes)]))
    share = max(1, most // (2 * classes))
    chosen = np.unique(np.concatenate([order[labels[order, label] > 0][:share] for label in range(classes)]))
    rest = order[~np.isin(order, chosen)][: max(0, most - len(chosen))]
    return np.sort(np.concatenate([chosen, rest]))
