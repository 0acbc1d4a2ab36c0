"""`export`: a run's model as a file for other programs, checked before it is written."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mixtransfer.deploy.exported import open_exported
from mixtransfer.deploy.options import ExportOptions
from mixtransfer.deploy.parity import Parity, compare
from mixtransfer.deploy.quantize import RULE, Quantization, check_int8, labelled_views, quantize
from mixtransfer.deploy.runtimes import FILE_RUNTIMES
from mixtransfer.deploy.runtimes.base import this_target
from mixtransfer.deploy.source import images_of, open_source
from mixtransfer.detection.spec import LARGEST_MOST
from mixtransfer.errors import UserError
from mixtransfer.files import write_atomic
from mixtransfer.ranges import SHARE, check_ranges


@dataclass(frozen=True)
class Written:
    """An exported file, its size in bytes (companions included), and how it compares with PyTorch.

    If it is in int8, ``parity`` is that of the float32 file that it was made from.
    """

    path: Path
    size: int
    parity: Parity
    int8: Quantization | None = None

    @property
    def record(self) -> Path:
        """Where the comparison is kept."""
        return self.path.with_name(f"{self.path.name}.json")

    def to_dict(self) -> dict:
        int8 = self.int8 and self.int8.to_dict()
        return {"path": str(self.path), "bytes": self.size, "parity": self.parity.to_dict(), "int8": int8}


def export(options: ExportOptions) -> Written:
    """Write a run's model in another format.

    Raises:
        UserError: The run is damaged, the target cannot be written, the runtime is not installed, the file does not
            compute what PyTorch computes, or int8 costs too much accuracy; then nothing is written.
    """
    runtime = FILE_RUNTIMES[options.format]
    runtime.require_writers()
    if options.check < 1:
        raise UserError(f"--check is {options.check}; at least one image must be compared.")
    if options.int8:
        check_int8(options)
    check_ranges(options, nms=SHARE, min_score=SHARE, max_detections=(1, LARGEST_MOST))
    source = open_source(
        options.run,
        options.classes,
        nms=options.nms,
        class_agnostic=options.class_agnostic,
        min_score=options.min_score,
        max_detections=options.max_detections,
    )
    if options.raw and source.task != "detection":
        raise UserError(f"--raw is for detectors; {options.run} holds a classifier.")
    path = _path(options, runtime.suffixes[0])
    target = this_target() if options.target == "auto" else options.target
    labelled = labelled_views(source) if options.int8 else None
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / path.name
        rule = RULE if options.int8 else runtime.rule(target)
        network = source.network(options.preprocess, options.raw, rule)
        runtime.write(network, source.describe(network, target), made)
        views, images = images_of(source, options.images, options.check)
        parity = compare(open_exported(made), source.reference(options.raw), views, images)
        if not parity.holds:
            raise UserError(f"The export of {options.run} is not written, because it would be wrong: {parity}")
        int8 = quantize(made, labelled, options.int8_limit) if labelled else None
        return put_in_place(made, path, parity, int8)


def put_in_place(made: Path, target: Path, parity: Parity, int8: Quantization | None) -> Written:
    """Move a file that was made in a folder of its own, with its companions, and keep the comparison beside it."""
    files = sorted(made.parent.iterdir(), key=lambda file: file.name == made.name)  # the one to open comes last
    written = Written(target, sum(file.stat().st_size for file in files), parity, int8)
    try:
        for file in files:
            write_atomic(target.with_name(file.name), file.read_bytes())
        write_atomic(written.record, json.dumps(written.to_dict(), indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        raise UserError(f"{target} cannot be written ({error.strerror}): choose another --output.") from error
    return written


def _path(options: ExportOptions, suffix: str) -> Path:
    """The file to write.

    Raises:
        UserError: Its name has another suffix, or its folder cannot be written; said before the work, not after it.
    """
    target = Path(options.output) if options.output else Path(options.run) / f"model{suffix}"
    if target.suffix.lower() != suffix:
        raise UserError(f"--output {target} must end in {suffix}, as files of the format {options.format} do.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise UserError(f"{target} cannot be written ({error.strerror}): choose another --output.") from error
    if target.is_dir():
        raise UserError(f"--output {target} is a folder: give the name of a file in it.")
    return target
