"""`benchmark`: how fast a model is here, by runtime, batch and threads."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mixtransfer.backbones import backbone_spec, count_macs, create_backbone
from mixtransfer.backbones.capability import check_classifier
from mixtransfer.data.preprocessing import Preprocessing
from mixtransfer.deploy.export import describe
from mixtransfer.deploy.exported import is_exported, open_exported
from mixtransfer.deploy.formats import FORMATS
from mixtransfer.deploy.latency import sample
from mixtransfer.deploy.memory import peak_memory
from mixtransfer.deploy.metadata import Metadata
from mixtransfer.deploy.options import BenchmarkOptions, ExportOptions
from mixtransfer.deploy.runtimes import prepare
from mixtransfer.deploy.source import Source, open_source
from mixtransfer.errors import UserError
from mixtransfer.ranges import AT_LEAST_1, check_ranges
from mixtransfer.run import Run

LABELS = {
    "pytorch": "PyTorch", "onnx": "ONNX Runtime", "openvino": "OpenVINO", "torch": "torch.export",
    "executorch": "ExecuTorch",
}  # fmt: skip
MATRIX = 1536  # side of the matrices whose product measures the machine's peak
QUANTILES = {"p50": 50, "p90": 90, "p99": 99}

Calls = dict[int, Callable[[], object]]


@dataclass(frozen=True)
class Speed:
    """One way to run a model.

    Attributes:
        runtime: A key of ``LABELS``.
        threads, batch: As asked.
        milliseconds: Percentiles of the latency of a batch.
        images_per_second: At the median latency.
        memory: Bytes at most, the weights included; None if unknown.
        share: Of the multiply-adds that this machine can do in the same time, with as many threads, in a product of
            large float32 matrices; None if the model's own are unknown.
    """

    runtime: str
    threads: int
    batch: int
    milliseconds: dict[str, float]
    images_per_second: float
    memory: int | None
    share: float | None


@dataclass(frozen=True)
class Benchmark:
    """What was measured of a model.

    Attributes:
        name: As the user named it.
        image_size: In pixels.
        macs: Multiply-adds of an image, or None.
        peak: Multiply-adds a second that this machine can do, by number of threads.
        unavailable: Why a runtime cannot run the model, by runtime.
    """

    name: str
    image_size: int
    macs: int | None
    peak: dict[int, float]
    speeds: list[Speed]
    unavailable: dict[str, str]

    def to_dict(self) -> dict:
        return asdict(self)

    @property
    def fastest(self) -> Speed:
        """That with the shortest median latency at the smallest batch."""
        smallest = min(speed.batch for speed in self.speeds)
        return min((s for s in self.speeds if s.batch == smallest), key=lambda speed: speed.milliseconds["p50"])


def benchmark(options: BenchmarkOptions, say: Callable[[str], None]) -> Benchmark:
    """Measure a run, a backbone with random weights, or an exported file.

    All ways are measured in turns, with the machine's peak among them.

    Raises:
        UserError: The model cannot be opened, or an option has a value that cannot be.
    """
    batches = _numbers(options.batches, "batches")
    threads = _numbers(options.threads or f"1,{torch.get_num_threads()}", "threads")
    check_ranges(options, rounds=AT_LEAST_1)
    unavailable: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        if is_exported(options.model):
            exported = open_exported(options.model)
            size, macs = exported.preprocessing.size, _macs_of_file(exported.metadata)
            places = {exported.format: options.model}
        else:
            source = _source(options.model)
            size, macs = source.preprocessing.size, _macs(source)
            places, unavailable = _runtimes(source, options, Path(folder), say)
        calls: dict[tuple[str, int, int], Callable[[], object]] = {
            ("peak", count, 0): _multiplication(count) for count in threads
        }
        memory: dict[tuple[str, int], int] = {}
        for runtime, place in places.items():
            say(f"{LABELS[runtime]}: opening.")
            for count in threads:
                _, made = open_calls(runtime, place, batches, count)
                calls |= {(runtime, count, batch): call for batch, call in made.items()}
            peaks = peak_memory(partial(open_calls, runtime, place, batches, max(threads)))
            memory |= {(runtime, batch): peak for batch, peak in peaks.items()}
        say(f"Measuring latency: {options.rounds} rounds of {len(calls)} calls in turns.")
        cores = torch.get_num_threads()
        try:
            seconds = sample(calls, options.rounds)
        finally:
            torch.set_num_threads(cores)
    peak = {count: MATRIX**3 / float(np.median(seconds.pop(("peak", count, 0)))) for count in threads}
    speeds = []
    for (runtime, count, batch), samples in seconds.items():
        median = float(np.median(samples))
        share = None if macs is None else batch * macs / median / peak[count]
        percentiles = {name: 1000 * float(np.percentile(samples, part)) for name, part in QUANTILES.items()}
        speeds.append(Speed(runtime, count, batch, percentiles, batch / median, memory.get((runtime, batch)), share))
    return Benchmark(options.model, size, macs, peak, speeds, unavailable)


def open_calls(runtime: str, place: str, batches: Sequence[int], threads: int) -> tuple[int, Calls]:
    """The size of the weights in bytes, and a call without arguments for each batch size.

    Args:
        runtime: A key of ``LABELS``.
        place: The exported file, or for "pytorch" the run or the backbone.
    """
    if runtime == "pytorch":
        return _open_pytorch(place, batches, threads)
    exported = open_exported(place, threads)
    files = [Path(place).with_suffix(suffix) for suffix in FORMATS[runtime].suffixes]
    size = exported.preprocessing.size
    views = np.random.default_rng(0).integers(0, 256, (max(batches), size, size, 3), np.uint8)
    calls: Calls = {batch: partial(exported.run, exported.to_input(views[:batch])) for batch in batches}
    if runtime == "torch":
        calls = {batch: _with_threads(call, threads) for batch, call in calls.items()}
    return sum(file.stat().st_size for file in files), calls


def _open_pytorch(place: str, batches: Sequence[int], threads: int) -> tuple[int, Calls]:
    source = _source(place)
    size = source.preprocessing.size
    if source.task == "classification":
        images = torch.randn(max(batches), 3, size, size, generator=torch.Generator().manual_seed(0))
        made = prepare("pytorch", source.model, size, batches)
        calls = {batch: partial(call, images[:batch].clone()) for batch, call in made.items()}
    else:
        view = torch.zeros(3, size, size, dtype=torch.uint8)
        detect = torch.inference_mode()(source.model)
        calls = {batch: partial(detect, [{"image": view}] * batch) for batch in batches}
    weights = sum(tensor.numel() * tensor.element_size() for tensor in source.model.state_dict().values())
    return weights, {batch: _with_threads(call, threads) for batch, call in calls.items()}


def _with_threads(call: Callable[[], object], threads: int) -> Callable[[], object]:
    """PyTorch has one number of threads for the whole process."""

    def run() -> object:
        torch.set_num_threads(threads)
        return call()

    return run


def _multiplication(threads: int) -> Callable[[], object]:
    left, right = torch.randn(2, MATRIX, MATRIX).unbind()
    return _with_threads(partial(torch.mm, left, right), threads)


def _runtimes(
    source: Source, options: BenchmarkOptions, folder: Path, say: Callable[[str], None]
) -> tuple[dict[str, str], dict[str, str]]:
    """Where each runtime finds the model, which is exported into the folder; and why others cannot run it."""
    places, unavailable = {"pytorch": options.model}, {}
    for name in ("onnx", "openvino"):
        kind = FORMATS[name]
        place = folder / f"{name}{kind.suffixes[0]}"
        say(f"{LABELS[name]}: exporting.")
        try:
            kind.require(name)
            metadata = describe(source, ExportOptions(options.model))
            kind.write(source.network(False, False, kind.rule), metadata, place)
        except Exception as error:  # an exporter can fail in any way; the other runtimes remain
            unavailable[name] = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        else:
            places[name] = str(place)
    return places, unavailable


def _source(name: str) -> Source:
    """The model of a run, or a backbone with random weights: those do not matter for its speed."""
    if Run.is_run(name):
        return open_source(name)
    if Path(name).exists() and not name.lower().endswith(".json"):  # which is a backbone file
        raise UserError(f"{name} is neither a run nor an exported file; a backbone is one of `mixtransfer models`.")
    check_classifier(backbone_spec(name))
    model: Any = create_backbone(name, weights="none").eval()
    classes = [str(number) for number in range(model.num_classes)]
    return Source(None, "classification", name, model, Preprocessing.of(model), classes)


def _macs(source: Source) -> int:
    size = source.preprocessing.size
    if source.task == "classification":
        return count_macs(source.model, (3, size, size))
    from mixtransfer.detection.ssdlite.cost import network_cost

    return network_cost(source.model, size)["macs"]


def _macs_of_file(metadata: Metadata) -> int | None:
    """Of a classifier by a known name; other exported files do not say how they were built."""
    if metadata.task != "classification":
        return None
    try:
        with torch.device("meta"):
            classes, size = len(metadata.classes), metadata.preprocessing.size
            model = create_backbone(metadata.backbone, weights="none", num_classes=classes, image_size=size)
    except UserError:
        return None
    return count_macs(model, (3, size, size))


def _numbers(text: str, option: str) -> list[int]:
    """The numbers of an option such as 1,16.

    Raises:
        UserError: They are no positive whole numbers.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise UserError(f"--{option} takes positive whole numbers with commas between, such as 1,16, not {text!r}.")
    return sorted({int(part) for part in parts})
