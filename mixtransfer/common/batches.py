"""Work on many items, some at a time: a future, or a query, for each would take more memory than the items."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def batches(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    """The items in their order, ``size`` at a time; the last batch may be smaller."""
    return [items[i : i + size] for i in range(0, len(items), size)]


def map_in_threads(function: Callable[[Item], Answer], items: Sequence[Item], at_once: int) -> Iterator[Answer]:
    """What a function gives for each item, in order, as it comes; a thread takes ``at_once`` of them."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from chain.from_iterable(pool.map(lambda batch: list(map(function, batch)), batches(items, at_once)))
