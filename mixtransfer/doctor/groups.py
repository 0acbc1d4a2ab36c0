"""Findings about groups: torn between parts, or holding all of a class."""

from mixtransfer.data.dataset import too_few
from mixtransfer.data.division import Found, counted
from mixtransfer.data.draw import Draw
from mixtransfer.data.labels import members_of_classes
from mixtransfer.data.splits import TooFew
from mixtransfer.doctor.finding import Example, Finding
from mixtransfer.doctor.listing import Listing


def group_findings(listing: Listing) -> list[Finding]:
    """How many groups there are, and which are in the way of a split."""
    members: dict[str, list[int]] = {}
    for i, group in enumerate(listing.groups):
        if group:
            members.setdefault(group, []).append(i)
    if not members:
        return []
    grouped = sum(map(len, members.values()))
    found = [
        Finding(
            "groups",
            "note",
            f"{counted(grouped, 'image')} in {counted(len(members), 'group')}, {len(listing) - grouped:,} in none.",
            "Each group stays in one part of a split that is drawn.",
        )
    ]
    torn = {group: own for group, own in members.items() if len({listing.part[i] for i in own}) > 1}
    if torn:
        found.append(
            Finding(
                "torn_groups",
                "warning",
                f"{counted(len(torn), 'group')} {'has' if len(torn) == 1 else 'have'} images in more than one part.",
                "Keep each group in one part: a score on a subject that was trained on is too high.",
                [Example(f"{group}: {_by_part(listing, own)}", tuple(own[:2])) for group, own in torn.items()],
            )
        )
    return [*found, *_whole_classes(listing)]


def split_findings(listing: Listing, usable: list[int]) -> list[Finding]:
    """Why training could not draw the parts that the data does not have, if it could not.

    Args:
        usable: Positions of the images that can be used.
    """
    found = Found(
        listing.name,
        listing.classes,
        [listing.file(i) for i in usable],
        listing.part[usable].astype(object),
        listing.labels[usable],
        [listing.shows(i) for i in usable],
        [listing.groups[i] if listing.groups else "" for i in usable],
    )
    try:
        Draw().divide(found)
    except TooFew as error:
        mend = "Until then training refuses this data."
        return [Finding("class_too_small", "error", too_few(error, found), mend)]
    return []


def _by_part(listing: Listing, own: list[int]) -> str:
    parts = [listing.part[i] for i in own]
    return ", ".join(f"{parts.count(part)} {part}" for part in dict.fromkeys(parts))


def _whole_classes(listing: Listing) -> list[Finding]:
    """Classes that cannot be in several parts."""
    whole = []
    for label, own in members_of_classes(listing.labels) if listing.parts == ["all"] else ():
        groups = {listing.groups[i] or i for i in own.tolist()}
        if len(groups) == 1 and len(own) > 1:
            whole.append(Example(f"{listing.classes[label]}: {next(iter(groups))}"))
    if not whole:
        return []
    return [
        Finding(
            "class_in_one_group",
            "error",
            f"{counted(len(whole), 'class', 'classes')} with all images in one group, which cannot be split.",
            "Take images of another subject, or make the groups smaller.",
            whole,
        )
    ]
