"""Groups of images that stay in one part: those of one subject, patient, video or burst."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mixtransfer.data.division import counted
from mixtransfer.errors import UserError


def groups_by(pattern: str, names: Sequence[str]) -> list[str]:
    """The group of each image: what the pattern's first capturing group matches in its path, or the whole match.

    Args:
        pattern: A regular expression.
        names: Paths relative to the data.

    Returns:
        A group for each path; "" where the pattern matches nothing.

    Raises:
        UserError: It is no regular expression, or matches no path.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UserError(f"--group-by {pattern!r} is not a regular expression ({error}).") from error
    matches = [expression.search(name) for name in names]
    groups = [(match[1 if expression.groups else 0] or "") if match else "" for match in matches]
    if not any(groups):
        raise UserError(f"--group-by {pattern!r} matches none of the {len(names)} paths, such as {names[0]!r}.")
    return groups


def settled_groups(own: list[str], group_by: str | None, names: Sequence[str], source: Path | str) -> list[str]:
    """The group of each image, "" for none: its own, or by a pattern.

    Args:
        own: Groups that the data gives.
        group_by: See ``groups_by``, or None.
        names: Paths relative to the data; empty of images without files.
        source: The data, for errors.

    Raises:
        UserError: The pattern does not go with the data.
    """
    if not group_by:
        return own
    if any(own):
        raise UserError(f"{source} has groups of its own, in the column group: leave --group-by out.")
    if not names:
        raise UserError(f"--group-by is for images in files, which {source} does not have.")
    return groups_by(group_by, names)


def units_of(names: Sequence[str], groups: Sequence[str]) -> list[str]:
    """What stays whole of each image: its group, or the image itself."""
    return [group or name for name, group in zip(names, groups, strict=True)]


def group_notes(groups: Sequence[str], parts: np.ndarray) -> list[str]:
    """What there is to say of the groups; a group in two parts is a warning.

    Args:
        groups: Of each image, "" for none.
        parts: The part of each image.
    """
    if not any(groups):
        return []
    inside: dict[str, set[str]] = {}
    for group, part in zip(groups, parts.tolist(), strict=True):
        if group:
            inside.setdefault(group, set()).add(part)
    grouped = sum(map(bool, groups))
    alone = len(groups) - grouped
    rest = f"; the other {alone} {'is a group of its' if alone == 1 else 'are groups of their'} own" if alone else ""
    notes = [f"{counted(grouped)} in {counted(len(inside), 'group')}{rest}."]
    if torn := sorted(group for group, places in inside.items() if len(places) > 1):
        notes.append(
            f"Warning: {len(torn)} of the groups {'has' if len(torn) == 1 else 'have'} images in more than one part "
            f"({', '.join(torn[:3])}{' …' if len(torn) > 3 else ''}): scores will be too high."
        )
    return notes
