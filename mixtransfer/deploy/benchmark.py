"""`benchmark`: how fast a model is here, by runtime, batch and threads."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import cast

import numpy as np
import torch

from mixtransfer.backbones import count_macs, create_backbone
from mixtransfer.common.machine import processor_state
from mixtransfer.common.ranges import ABOVE_0, AT_LEAST_1, check_ranges
from mixtransfer.deploy.exported import open_exported
from mixtransfer.deploy.latency import SLICE, Sample, sample
from mixtransfer.deploy.memory import peak_memory
from mixtransfer.deploy.metadata import Metadata
from mixtransfer.deploy.options import BenchmarkOptions
from mixtransfer.deploy.runtimes import MEASURED, RUNTIMES, runtime_of
from mixtransfer.deploy.runtimes.base import Call, FileRuntime, example_input, first_line
from mixtransfer.deploy.source import Source, source_of
from mixtransfer.errors import UserError

MATRIX = 1536  # side of the matrices whose product measures the machine's peak
QUANTILES = {"p50": (50, 1), "p90": (90, 1), "p99": (99, 1000)}  # and how many calls it takes to tell

Calls = dict[int, Callable[[], object]]


@dataclass(frozen=True)
class Speed:
    """One way to run a model.

    Attributes:
        runtime: A key of ``RUNTIMES``.
        threads, batch: As asked.
        milliseconds: Percentiles of the latency of a batch; None where there were too few calls to tell.
        calls: How many were timed.
        images_per_second: At the median latency.
        memory: Bytes at most, beyond a process that has not opened the model; None if unknown.
        share: Of the multiply-adds that this machine can do in the same time, with as many threads, in a product of
            large float32 matrices; None if the model's own are unknown.
        joules: That the processors took for an image; None where the machine does not tell.
    """

    runtime: str
    threads: int
    batch: int
    milliseconds: dict[str, float | None]
    calls: int
    images_per_second: float
    memory: int | None
    share: float | None
    joules: float | None

    @classmethod
    def of(cls, way: tuple[str, int, int], found: Sample, memory: int | None, macs: int | None, peak: float) -> "Speed":
        runtime, threads, batch = way
        milliseconds = {
            name: 1000 * float(np.percentile(found.seconds, part)) if found.seconds.size >= least else None
            for name, (part, least) in QUANTILES.items()
        }
        median, calls = float(np.median(found.seconds)), found.seconds.size
        share = None if macs is None else batch * macs / median / peak
        joules = found.joules / calls / batch or None
        return cls(runtime, threads, batch, milliseconds, calls, batch / median, memory, share, joules)


@dataclass(frozen=True)
class Benchmark:
    """What was measured of a model.

    Attributes:
        name: As the user named it.
        image_size: In pixels.
        macs: Multiply-adds of an image, or None.
        peak: Multiply-adds a second that this machine can do, by number of threads.
        unavailable: Why a runtime cannot run the model, by runtime.
        processor: What this process may use of the machine, see ``processor_state``.
    """

    name: str
    image_size: int
    macs: int | None
    peak: dict[int, float]
    speeds: list[Speed]
    unavailable: dict[str, str]
    processor: dict[str, str]

    def to_dict(self) -> dict:
        return asdict(self)

    @property
    def fastest(self) -> Speed:
        """That with the shortest median latency at the smallest batch."""
        smallest = min(speed.batch for speed in self.speeds)
        return min((s for s in self.speeds if s.batch == smallest), key=lambda speed: speed.milliseconds["p50"] or 0)


def benchmark(options: BenchmarkOptions, say: Callable[[str], None]) -> Benchmark:
    """Measure a run, a backbone with random weights, or an exported file.

    All ways are measured in turns, with the machine's peak among them.

    Raises:
        UserError: The model cannot be opened, or an option has a value that cannot be.
    """
    batches = _numbers(options.batches, "batches")
    threads = _numbers(options.threads or f"1,{torch.get_num_threads()}", "threads")
    check_ranges(options, rounds=AT_LEAST_1, seconds=ABOVE_0)
    rounds = options.rounds if options.seconds is None else max(1, round(options.seconds / SLICE))
    if runtime := runtime_of(options.model):
        exported = open_exported(options.model)
        size, macs = exported.preprocessing.size, _macs_of_file(exported.metadata)
    else:
        source = source_of(options.model)
        size, macs = source.preprocessing.size, source.cost()["macs"]
    unavailable: dict[str, str] = {}
    memory: dict[tuple[str, int], int] = {}
    calls: dict[tuple[str, int, int], Callable[[], object]] = {("peak", n, 0): _multiplication(n) for n in threads}
    with tempfile.TemporaryDirectory() as folder:
        places = (
            {runtime.name: options.model} if runtime else exported_everywhere(source, Path(folder), unavailable, say)
        )
        for name, place in places.items():
            say(f"{RUNTIMES[name].label}: opening.")
            for count in threads:
                made = open_calls(name, place, batches, count)
                calls |= {(name, count, batch): call for batch, call in made.items()}
            opener = partial(open_calls, name, place, batches, max(threads))
            memory |= {(name, batch): peak for batch, peak in peak_memory(partial(load, name), opener).items()}
        say(f"Measuring latency: {rounds} rounds of {len(calls)} calls in turns.")
        cores = torch.get_num_threads()
        try:
            found = sample(calls, rounds)
        finally:
            torch.set_num_threads(cores)
    peak = {count: MATRIX**3 / float(np.median(found.pop(("peak", count, 0)).seconds)) for count in threads}
    speeds = [Speed.of(way, one, memory.get((way[0], way[2])), macs, peak[way[1]]) for way, one in found.items()]
    return Benchmark(options.model, size, macs, peak, speeds, unavailable, processor_state())


def load(runtime: str) -> None:
    """Load the libraries of a runtime, without any model."""
    for module in RUNTIMES[runtime].modules:
        import_module(module)


def open_calls(runtime: str, place: str, batches: Sequence[int], threads: int) -> Calls:
    """A call without arguments for each batch size.

    Args:
        runtime: A key of ``RUNTIMES``.
        place: The exported file; for PyTorch the run or the backbone.
    """
    kind = RUNTIMES[runtime]
    if isinstance(kind, FileRuntime):
        exported = open_exported(place, threads)
        size = exported.preprocessing.size
        views = np.random.default_rng(0).integers(0, 256, (max(batches), size, size, 3), np.uint8)
        images, call = exported.to_input(views), cast(Call, exported.run)
    else:
        source = source_of(place)
        images, call = example_input(source, max(batches)), kind.prepare(source, threads, Path())
    calls: Calls = {batch: partial(call, images[:batch].copy()) for batch in batches}
    return {batch: _with_threads(call, threads) for batch, call in calls.items()} if kind.in_torch else calls


def exported_everywhere(
    source: Source, folder: Path, unavailable: dict[str, str], say: Callable[[str], None]
) -> dict[str, str]:
    """Where each runtime finds the model, which is exported into the folder; why others cannot run it is noted."""
    places = {}
    for runtime in (RUNTIMES[name] for name in MEASURED):
        if not isinstance(runtime, FileRuntime):
            places[runtime.name] = source.name
            continue
        say(f"{runtime.label}: exporting.")
        try:
            places[runtime.name] = str(runtime.export(source, folder))
        except Exception as error:  # an exporter can fail in any way; the other runtimes remain
            unavailable[runtime.name] = first_line(error)
    return places


def _with_threads(call: Callable[[], object], threads: int) -> Callable[[], object]:
    """PyTorch has one number of threads for the whole process."""

    def run() -> object:
        torch.set_num_threads(threads)
        return call()

    return run


def _multiplication(threads: int) -> Callable[[], object]:
    left, right = torch.randn(2, MATRIX, MATRIX).unbind()
    return _with_threads(partial(torch.mm, left, right), threads)


def _macs_of_file(metadata: Metadata) -> int | None:
    """Of a classifier by a known name; other exported files do not say how they were built."""
    if not metadata.is_classifier:
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
