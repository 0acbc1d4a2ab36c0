"""The page of a diagnosis, with pictures."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from mixtransfer.data.division import counted
from mixtransfer.doctor.examine import Diagnosis
from mixtransfer.doctor.finding import Example, Finding
from mixtransfer.doctor.listing import Listing
from mixtransfer.report import figures
from mixtransfer.report.page import Page

PICTURES = 24  # of a finding
LISTED = 200  # places of a finding that are named
SIDE = 240  # pixels
SIGNS = {"error": "Mend", "warning": "Look at", "note": "Know"}


def write_report(path: Path, diagnosis: Diagnosis) -> None:
    """Write the page."""
    listing = diagnosis.listing
    parts = ", ".join(f"{len(listing.members(part)):,} {part}" for part in listing.parts)
    page = Page(f"Doctor: {listing.name}", f"{counted(len(listing), 'image')} ({parts}). {diagnosis.verdict}")
    page.headline(
        [
            ("Images", f"{len(listing):,}", parts),
            ("Classes", f"{len(listing.classes):,}", ""),
            ("To mend", str(_number(diagnosis, "error")), "would spoil a training"),
            ("To look at", str(_number(diagnosis, "warning")), "warnings"),
            ("To drop", f"{len(diagnosis.to_drop):,}", "images on the fix list"),
        ]
    )
    for finding in diagnosis.findings:
        _add_finding(page, listing, finding)
    page.section("Classes", "Usable images of each." if listing.task == "classify" else "Usable boxes of each.")
    first = max(diagnosis.counts.values(), key=lambda counts: sum(counts.values()))
    order = sorted(listing.classes, key=lambda name: -first[name])
    if len(order) <= figures.LABELLED_CLASSES:
        part = next(part for part, counts in diagnosis.counts.items() if counts is first)
        page.figure(figures.counts({name: first[name] for name in order}, part), f"Numbers in the part {part}.")
    page.table(
        ["class", *diagnosis.counts],
        [[name, *(counts[name] for counts in diagnosis.counts.values())] for name in order],
    )
    page.section("Sizes and colours")
    rows = [
        [f"{what}: {name.replace('_', ' ')}", _words(value)]
        for what, group in diagnosis.statistics.items()
        for name, value in group.items()
    ]
    page.table(["", ""], rows)
    page.write(path)


def _number(diagnosis: Diagnosis, severity: str) -> int:
    return sum(finding.severity == severity for finding in diagnosis.findings)


def _add_finding(page: Page, listing: Listing, finding: Finding) -> None:
    page.section(f"{SIGNS[finding.severity]}: {finding.kind.replace('_', ' ')}", finding.mend)
    (page.note if finding.severity == "note" else page.warning)(finding.what)
    items: list[tuple[Image.Image, str]] = []
    shown: set[int] = set()
    for example in finding.examples:
        if len(items) == PICTURES:
            break
        if shown.isdisjoint(example.images) and (picture := _picture(listing, example)) is not None:
            items.append((picture, example.text))
            shown.update(example.images)
    if items:
        page.gallery(items, SIDE)
    if len(finding.examples) > len(items):
        more = len(finding.examples) - LISTED
        lines = [example.text for example in finding.examples[:LISTED]] + ([f"… and {more:,} more"] if more > 0 else [])
        page.code("\n".join(lines), f"All {len(finding.examples):,}" if more <= 0 else f"The first {LISTED}")


def _picture(listing: Listing, example: Example) -> Image.Image | None:
    """The example's images side by side, at the same height, with its boxes; None if there is nothing to show."""
    pictures = []
    for i in example.images:
        try:
            image = listing.load(i, min_side=None if example.boxes is not None else SIDE)
        except ValueError:
            continue
        if example.boxes is not None:
            from mixtransfer.detection.drawing import draw_truth

            image = draw_truth(image, example.boxes, np.zeros(len(example.boxes), int), [""])
        pictures.append(image)
    if not pictures:
        return None
    height = SIDE if len(pictures) == 1 else SIDE // 2
    pictures = [image.resize((max(1, round(image.width * height / image.height)), height)) for image in pictures]
    whole = Image.new("RGB", (sum(image.width for image in pictures) + 4 * (len(pictures) - 1), height), "white")
    left = 0
    for image in pictures:
        whole.paste(image, (left, 0))
        left += image.width + 4
    return whole


def _words(value: Mapping | float | int | None) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(one)}" for name, one in value.items())
    if isinstance(value, float):
        return f"{value:.4g}"
    return "–" if value is None else f"{value:,}"
