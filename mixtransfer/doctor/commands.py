"""`doctor` as the command line runs it: examine, write, print."""

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

from mixtransfer.common.files import write_atomic
from mixtransfer.common.messages import silent
from mixtransfer.common.signals import interruptible
from mixtransfer.data.division import counted
from mixtransfer.data.lookup import shown
from mixtransfer.doctor.examine import Diagnosis, examine
from mixtransfer.doctor.finding import Finding
from mixtransfer.doctor.options import DoctorOptions
from mixtransfer.errors import UserError

SIGNS = {"error": "✗", "warning": "!", "note": "·"}
SHOWN = 3  # places of a finding


def doctor(options: DoctorOptions) -> int:
    from mixtransfer.doctor.report import write_report

    with interruptible(lambda: "The same command goes on."):
        diagnosis, folder = examine(options)
        text = json.dumps(diagnosis.to_dict(), ensure_ascii=False, indent=1)
        write_atomic(folder / "doctor.json", text + "\n")
        write_report(folder / "report.html", diagnosis)
        preview = _preview(options, diagnosis.listing.task, folder / "preview.html") if options.preview else ""
    if options.fix_list:
        write_fix_list(Path(options.fix_list), diagnosis)
    if options.json:
        print(text)
    else:
        print_diagnosis(diagnosis)
        if options.fix_list:
            print(f"To drop: {counted(len(diagnosis.to_drop), 'image')}, in {options.fix_list}")
        print(f"Report:  {folder / 'report.html'}")
        if preview:
            print(f"Preview: {preview}")
    return 1 if any(finding.severity == "error" for finding in diagnosis.findings) else 0


def _preview(options: DoctorOptions, task: str, path: Path) -> str:
    """Write the preview of a training with the defaults; where it is, or why there is none."""
    given: dict[str, Any] = {"data_root": options.data_root, "layout": options.layout, "group_by": options.group_by}
    if options.image_size:
        given["image_size"] = options.image_size
    try:
        if task == "classify":
            from mixtransfer.classification import preview as classification
            from mixtransfer.classification.options import TrainOptions

            return str(classification.write_preview(TrainOptions(options.data, **given), path, silent))
        from mixtransfer.detection import preview as detection
        from mixtransfer.detection.options import TrainOptions as DetectOptions

        return str(detection.write_preview(DetectOptions(options.data, **given), path, silent))
    except UserError as error:  # what is wrong with the data is among the findings
        return f"none: {error}"


def write_fix_list(path: Path, diagnosis: Diagnosis) -> None:
    """Write the images to drop as CSV with the columns path and reason; those without a file are left out."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("path", "reason"))
    listing = diagnosis.listing
    rows.writerows(
        (listing.images[i], why) for i, why in diagnosis.to_drop.items() if isinstance(listing.images[i], Path)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text.getvalue())


def print_diagnosis(diagnosis: Diagnosis) -> None:
    """The verdict, then each finding with what to do and a few places."""
    listing = diagnosis.listing
    parts = ", ".join(f"{part} {len(listing.members(part)):,}" for part in listing.parts)
    classes = counted(len(listing.classes), "class", "classes")
    for line in (listing.reading, *listing.notes):
        if line:
            print(_one_line(line))
    print(f"{listing.name}: {counted(len(listing), 'image')} ({parts}), {classes}.")
    for finding in diagnosis.findings:
        _print_finding(finding)
    print(diagnosis.verdict)


def _print_finding(finding: Finding) -> None:
    print(f"{SIGNS[finding.severity]} {finding.what}")
    print(f"  {finding.mend}")
    for example in finding.examples[:SHOWN]:
        print(f"    {_one_line(example.text)}")
    if len(finding.examples) > SHOWN:
        print(f"    … and {len(finding.examples) - SHOWN:,} more")


def _one_line(text: str) -> str:
    """A file's name may hold anything: line breaks, what steers the terminal, and what it cannot show."""
    encoding = sys.stdout.encoding or "utf-8"
    return shown(text).encode(encoding, "replace").decode(encoding)
