"""The box around an outline: polygons, or a mask as COCO has it."""

from typing import Any

import numpy as np


def outline_box(outline: Any) -> list[float] | None:
    """The box [x, y, width, height] around polygons (x, y, x, y … in lists) or a run-length encoded mask; None of what
    is neither."""
    if isinstance(outline, dict):
        return _mask_box(outline)
    numbers = _flat(outline)
    if len(numbers) < 6 or len(numbers) % 2 or not all(map(is_number, numbers)):
        return None
    x, y = numbers[::2], numbers[1::2]
    return [min(x), min(y), max(x) - min(x), max(y) - min(y)]


def _flat(outline: Any) -> list:
    numbers, pending = [], [outline]
    while pending:
        one = pending.pop()
        if isinstance(one, list):
            pending.extend(reversed(one))
        else:
            numbers.append(one)
    return numbers


def _mask_box(mask: dict) -> list[float] | None:
    """Of a mask as COCO has it: numbers of pixels outside and inside in turn, column by column."""
    size, counts = mask.get("size"), mask.get("counts")
    if not isinstance(size, list) or len(size) != 2 or not all(type(n) is int and 0 < n < 2**31 for n in size):
        return None
    height = size[0]
    if isinstance(counts, str):
        counts = _unpacked(counts)
    if not isinstance(counts, list) or not all(type(n) is int and 0 <= n < 2**62 for n in counts):
        return None
    ends = np.cumsum(np.array(counts, dtype=np.float64))
    if not len(ends) or ends[-1] > size[0] * size[1]:
        return None
    ends = ends.astype(np.int64)
    first, last = ends[0:-1:2], ends[1::2] - 1
    first, last = first[last >= first], last[last >= first]
    if not len(first):
        return None
    whole = (first // height != last // height).any()  # a run goes on in the next column
    top, bottom = (0, height - 1) if whole else (int((first % height).min()), int((last % height).max()))
    left, right = int((first // height).min()), int((last // height).max())
    return [left, top, right - left + 1, bottom - top + 1]


def _unpacked(text: str) -> list[int] | None:
    """Counts of a compressed mask: base 32 with a bit that says whether more follows, from the third on as differences
    to the last but one (pycocotools, rleFrString)."""
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 60:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    return counts


def is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(is_number, value))


def is_number(value: Any) -> bool:
    return type(value) is float or (type(value) is int and abs(value) < 2**63)


def is_text(value: Any) -> bool:
    """Whether it is a text with something in it that can be written; JSON can hold halves of characters."""
    return isinstance(value, str) and bool(value) and not any("\ud800" <= letter <= "\udfff" for letter in value)
