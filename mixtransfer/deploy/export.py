"""`export`: a run's model as a file for other programs, checked before it is written."""

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from mixtransfer.common.files import move_folder, write_atomic
from mixtransfer.common.ranges import SHARE, check_ranges
from mixtransfer.deploy.companions import write_companions
from mixtransfer.deploy.exported import open_exported
from mixtransfer.deploy.metadata import Metadata
from mixtransfer.deploy.options import ExportOptions
from mixtransfer.deploy.parity import Parity, compare
from mixtransfer.deploy.quantize import RULE, Quantization, check_int8, labelled_views, quantize
from mixtransfer.deploy.runtimes import FORMATS
from mixtransfer.deploy.runtimes.base import FileRuntime, this_target
from mixtransfer.deploy.runtimes.onnxruntime import OPSETS, OnnxRuntime
from mixtransfer.deploy.source import Source, images_of, open_source
from mixtransfer.deploy.web.site import check_folder, write_site
from mixtransfer.detection.spec import LARGEST_MOST
from mixtransfer.errors import UserError


@dataclass(frozen=True)
class Written:
    """An exported file, its size in bytes (companions included), and how it compares with PyTorch.

    If it is in int8, ``parity`` is that of the float32 file that it was made from; where the runtime does not run
    here, it is None. ``beside`` are its labels and the script that uses it.
    """

    path: Path
    size: int
    parity: Parity | None
    int8: Quantization | None = None
    beside: tuple[Path, ...] = ()

    @property
    def record(self) -> Path:
        """Where the comparison is kept."""
        return self.path.with_name(f"{self.path.name}.json")

    def to_dict(self) -> dict:
        int8 = self.int8 and self.int8.to_dict()
        parity = self.parity and self.parity.to_dict()
        return {"path": str(self.path), "bytes": self.size, "parity": parity, "int8": int8}


def export(options: ExportOptions) -> Written:
    """Write a run's model in another format.

    Raises:
        UserError: The run is damaged, the target cannot be written, the runtime is not installed, the file does not
            compute what PyTorch computes, or int8 costs too much accuracy; then nothing is written.
    """
    runtime = _runtime(options)
    if options.check < 1:
        raise UserError(f"--check is {options.check}; at least one image must be compared.")
    int8 = options.int8 or options.precision == "int8"
    if int8:
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
    if options.raw and source.is_classifier:
        raise UserError(f"--raw is for detectors; {options.run} holds a classifier.")
    if options.softmax and not source.is_classifier:
        raise UserError(f"--softmax is for classifiers; {options.run} holds a detector.")
    _check_known(options, source)
    path = _site(options) if runtime.is_site else _path(options, runtime)
    target = this_target() if options.target == "auto" else options.target
    labelled = labelled_views(source) if int8 else None
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / path.name
        rule = RULE if int8 else runtime.rule(target)
        softmax = options.softmax or (runtime.is_site and source.is_classifier)
        known = options.known or (runtime.is_site and source.known is not None)
        network = source.network(options.preprocess or runtime.is_site, options.raw, rule, softmax, known)
        metadata = source.describe(network, target)
        half = options.precision == "fp16"
        runtime.write(network, metadata, made, half)
        parity = None
        if runtime.runs_here:
            views, images = images_of(source, options.images, options.check)
            parity = compare(open_exported(made), source.reference(options.raw), views, images, half)
        if parity and not parity.holds:
            raise UserError(f"The export of {options.run} is not written, because it would be wrong: {parity}")
        quantized = quantize(made, labelled, options.int8_limit) if labelled else None
        if runtime.is_site:
            assert parity
            write_site(made.parent, source, metadata, parity)
            return put_in_place(made, path, parity, quantized)
        return put_in_place(made, path, parity, quantized, metadata)


def _check_known(options: ExportOptions, source: Source) -> None:
    """
    Raises:
        UserError: How known images look is asked for, but cannot be told.
    """
    if not options.known:
        return
    if not source.is_classifier:
        raise UserError(f"--known is for classifiers; {options.run} holds a detector.")
    if source.known is None:
        raise UserError(
            f"{options.run} keeps no measure of how known images look: train it anew by `classify train`, with a "
            "network that has a linear head, or leave out --known."
        )
    if options.format == "coreml" and options.softmax:
        raise UserError("--known and --softmax exclude each other of coreml: Vision takes one output.")
    if options.format == "coreml" and options.precision == "fp16":
        raise UserError("--known of coreml is computed in 32 bits: leave out --precision fp16.")


def put_in_place(
    made: Path, target: Path, parity: Parity | None, int8: Quantization | None, metadata: Metadata | None = None
) -> Written:
    """Move a file that was made in a folder of its own, with its companions, and keep the comparison beside it.

    Args:
        metadata: What labels and a script are written from; None of a page, which has all that it needs in the folder.
    """
    files = sorted(made.parent.iterdir(), key=lambda file: file.name == made.name)  # the one to open comes last
    size = sum(file.stat().st_size for file in made.parent.rglob("*") if file.is_file())
    written = Written(target, size, parity, int8)
    try:
        for file in files:
            if file.is_dir():
                move_folder(file, target.with_name(file.name))
            else:
                write_atomic(target.with_name(file.name), file.read_bytes())
        if metadata is None:
            return replace(written, beside=tuple(target.with_name(file.name) for file in files[:-1]))
        written = replace(written, beside=tuple(write_companions(target, metadata)))
        write_atomic(written.record, json.dumps(written.to_dict(), indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        raise UserError(f"{target} cannot be written ({error.strerror}): choose another --output.") from error
    return written


def _runtime(options: ExportOptions) -> FileRuntime:
    """
    Raises:
        UserError: It is not installed, or has not what the options ask for.
    """
    runtime = FORMATS[options.format]
    if options.precision not in (*runtime.precisions, "int8"):  # which ``check_int8`` speaks of
        raise UserError(f"--precision {options.precision} is not for {options.format}.")
    if options.int8 and options.precision == "fp16":
        raise UserError("--int8 and --precision fp16 exclude each other: give one.")
    if options.opset is not None:
        if options.format != "onnx":
            raise UserError(f"--opset is of ONNX; {options.format} has none.")
        if options.opset not in OPSETS:
            raise UserError(f"--opset is {options.opset}; it must lie between {OPSETS[0]} and {OPSETS[-1]}.")
        runtime = OnnxRuntime(options.opset)
    if runtime.is_site and options.raw:
        raise UserError("--raw is not for web: the page shows boxes, which it leaves out.")
    runtime.require_writers()
    return runtime


def _path(options: ExportOptions, runtime: FileRuntime) -> Path:
    """The file to write.

    Raises:
        UserError: Its name has another suffix, or its folder cannot be written; said before the work, not after it.
    """
    suffix = runtime.suffixes[0]
    target = Path(options.output) if options.output else Path(options.run) / f"model{suffix}"
    if target.suffix.lower() != suffix:
        raise UserError(f"--output {target} must end in {suffix}, as files of the format {options.format} do.")
    _try(target)
    if target.is_dir() and not (runtime.is_folder and (target / "Manifest.json").is_file()):
        raise UserError(f"--output {target} is a folder: give the name of a file in it.")
    return target


def _site(options: ExportOptions) -> Path:
    """The model's file in the folder to write; see ``_path``."""
    folder = Path(options.output) if options.output else Path(options.run) / "web"
    check_folder(folder)
    _try(folder / "model.onnx")
    return folder / "model.onnx"


def _try(target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise UserError(f"{target} cannot be written ({error.strerror}): choose another --output.") from error
