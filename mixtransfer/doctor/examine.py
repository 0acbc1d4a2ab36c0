"""From options to a diagnosis."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mixtransfer.common.ranges import check_ranges
from mixtransfer.data.division import counted
from mixtransfer.data.labels import class_counts
from mixtransfer.detection.spec import DetectorSpec
from mixtransfer.doctor.boxes import PartBoxes, box_findings, box_statistics, overlaps, with_fitting_anchors
from mixtransfer.doctor.classes import class_findings
from mixtransfer.doctor.duplicates import Copies
from mixtransfer.doctor.files import file_findings, image_statistics
from mixtransfer.doctor.finding import SEVERITIES, Finding, worst_first
from mixtransfer.doctor.groups import group_findings, split_findings
from mixtransfer.doctor.labels import label_findings
from mixtransfer.doctor.listing import Listing, list_data
from mixtransfer.doctor.looking import Look, look_through
from mixtransfer.doctor.options import DoctorOptions
from mixtransfer.doctor.together import together_findings
from mixtransfer.errors import UserError
from mixtransfer.runs.model_card import ModelCard
from mixtransfer.runs.run import Run

TASKS = {"classification": "classify", "multilabel": "classify", "detection": "detect"}
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
            return f"Mend first: {counted(number['error'], 'finding')} of {len(self.findings)} would spoil a training."
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
    run, spec = None, DetectorSpec()
    task: str = options.task
    if options.run is not None:
        run = Run.open(options.run)
        task = _task_of(run, options)
        if task == "detect":
            from mixtransfer.detection.model import read_detector_card

            spec = read_detector_card(run.model)[1]
    spec = spec.changed(image_size=options.image_size, resize=options.resize)
    check_ranges(options, image_size=(64, 2048))
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
        overlap = _overlaps(boxes, spec, fitting=run is None)
        findings += box_findings(listing, looks, boxes, overlap, spec.image_size)
        statistics["boxes"] = box_statistics(boxes, overlap)
        counts = {part: found.counts(listing.classes) for part, found in boxes.items()}
    else:
        counts = {part: _counts(listing, looks, part) for part in listing.parts}
        usable = [look.reason is None for look in looks]
        findings += together_findings(listing.labels[np.array(usable, dtype=bool)], listing.classes)
    findings += [*class_findings(counts, listing.task, listing.is_multilabel), *group_findings(listing)]
    if listing.task == "classify" and not any(finding.severity == "error" for finding in findings):
        findings += split_findings(listing, [i for i, look in enumerate(looks) if look.reason is None])
    if run is not None:
        findings += label_findings(listing, run, options.data, options.data_root, options.layout)
    dropped = {i: look.reason for i, look in enumerate(looks) if look.reason} | copies.to_drop()
    return Diagnosis(listing, worst_first(findings), counts, statistics, dict(sorted(dropped.items()))), folder


def _task_of(run: Run, options: DoctorOptions) -> str:
    task = TASKS[ModelCard.read(run.model).task]
    if options.task not in ("auto", task):
        raise UserError(f"{run.folder} was trained to {task}: leave --task out.")
    return task


def _overlaps(boxes: dict[str, PartBoxes], spec: DetectorSpec, fitting: bool) -> np.ndarray | None:
    try:
        from mixtransfer.detection.coverage import anchors_of

        spec = with_fitting_anchors(spec, boxes) if fitting else spec
        return overlaps(boxes, anchors_of(spec), spec.square)
    except UserError:  # without detectron2 everything else can still be said
        return None


def _counts(listing: Listing, looks: list[Look], part: str) -> dict[str, int]:
    usable = [i for i in listing.members(part) if looks[i].reason is None]
    counts = class_counts(listing.labels[usable], len(listing.classes))
    return dict(zip(listing.classes, counts.tolist(), strict=True))
