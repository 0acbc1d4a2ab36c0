"""From options to a diagnosis."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mixtransfer.doctor.boxes import PartBoxes, box_findings, box_statistics, overlaps, training_anchors
from mixtransfer.doctor.classes import class_findings
from mixtransfer.doctor.duplicates import Copies
from mixtransfer.doctor.files import file_findings, image_statistics
from mixtransfer.doctor.finding import SEVERITIES, Finding, plural, worst_first
from mixtransfer.doctor.groups import group_findings, split_findings
from mixtransfer.doctor.labels import label_findings
from mixtransfer.doctor.listing import Listing, list_data
from mixtransfer.doctor.looking import Look, look_through
from mixtransfer.doctor.options import DoctorOptions
from mixtransfer.errors import UserError
from mixtransfer.model_card import ModelCard
from mixtransfer.run import Run

TASKS = {"classification": "classify", "detection": "detect"}
MEMORY = "looks.sqlite"


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Attributes:
        listing: The dataset.
        findings: Worst first.
        counts: Part → class → number of usable images (or boxes).
        statistics: Sizes, colours, formats, and for detection, of the boxes.
        to_drop: Position of each image that the fix list names → reason.
    """

    listing: Listing
    findings: list[Finding]
    counts: dict[str, dict[str, int]]
    statistics: dict
    to_drop: dict[int, str]

    @property
    def verdict(self) -> str:
        """A sentence."""
        number = {severity: sum(one.severity == severity for one in self.findings) for severity in SEVERITIES}
        if number["error"]:
            return f"Mend first: {plural(number['error'], 'finding')} of {len(self.findings)} would spoil a training."
        if number["warning"]:
            return "It can be trained on; look at the warnings first."
        return "Nothing stands in the way of training."

    def to_dict(self) -> dict:
        """For --json and ``doctor.json``."""
        listing = self.listing
        files = [listing.file(i) for i in range(len(listing))]
        return {
            "data": listing.name,
            "task": listing.task,
            "reading": listing.reading,
            "notes": listing.notes,
            "verdict": self.verdict,
            "parts": {part: len(listing.members(part)) for part in listing.parts},
            "classes": self.counts,
            "statistics": self.statistics,
            "findings": [finding.to_dict(files) for finding in self.findings],
            "to_drop": [{"file": files[i], "reason": reason} for i, reason in self.to_drop.items()],
        }


def examine(options: DoctorOptions) -> tuple[Diagnosis, Path]:
    """Look at a dataset.

    Returns:
        The diagnosis, and the folder for its report, which exists.

    Raises:
        UserError: The data, the run or an option cannot be used.
    """
    run, size = None, options.image_size or 320
    task: str = options.task
    if options.run is not None:
        run = Run.open(options.run)
        task, size = _task_of(run, options)
    if not 64 <= size <= 2048:
        raise UserError(f"--image-size is {size}; it must lie between 64 and 2048.")
    listing = list_data(options.data, task, Path(options.data_root), options.group_by, options.layout)
    folder = Path(options.output or Path("runs") / f"{listing.name}-doctor")
    if Run.is_run(folder):
        raise UserError(f"{folder} holds a run: choose another --output.")
    folder.mkdir(parents=True, exist_ok=True)
    looks = look_through(listing, folder / MEMORY)
    copies = Copies(listing, looks)
    findings = [*file_findings(listing, looks), *copies.findings()]
    statistics = {"images": image_statistics(looks)}
    if listing.task == "detect":
        boxes = {part: PartBoxes.of(listing, looks, part) for part in listing.parts}
        overlap = _overlaps(boxes, size)
        findings += box_findings(listing, looks, boxes, overlap, size)
        statistics["boxes"] = box_statistics(boxes, overlap)
        counts = {part: found.counts(listing.classes) for part, found in boxes.items()}
    else:
        counts = {part: _counts(listing, looks, part) for part in listing.parts}
    findings += [*class_findings(counts, listing.task), *group_findings(listing)]
    if listing.task == "classify" and not any(finding.severity == "error" for finding in findings):
        findings += split_findings(listing, [i for i, look in enumerate(looks) if look.reason is None])
    if run is not None:
        findings += label_findings(listing, run, options.data, options.data_root, options.layout)
    dropped = {i: look.reason for i, look in enumerate(looks) if look.reason} | copies.to_drop()
    return Diagnosis(listing, worst_first(findings), counts, statistics, dict(sorted(dropped.items()))), folder


def _task_of(run: Run, options: DoctorOptions) -> tuple[str, int]:
    """The task of a run, and for detection the side of its images."""
    card = ModelCard.read(run.model)
    task = TASKS[card.task]
    if options.task not in ("auto", task):
        raise UserError(f"{run.folder} was trained to {task}: leave --task out.")
    return task, options.image_size or (int(card.preprocessing.get("size", 320)) if task == "detect" else 320)


def _overlaps(boxes: dict[str, PartBoxes], size: int) -> np.ndarray | None:
    try:
        return overlaps(boxes, training_anchors(boxes, size))
    except UserError:  # without detectron2 everything else can still be said
        return None


def _counts(listing: Listing, looks: list[Look], part: str) -> dict[str, int]:
    labels = [listing.label[i] for i in listing.members(part) if looks[i].reason is None]
    return dict(zip(listing.classes, np.bincount(labels, minlength=len(listing.classes)).tolist(), strict=True))
