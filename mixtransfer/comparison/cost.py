"""What a trained model costs here: size, multiply-adds, latency, throughput, memory, and its training."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import final

import torch

from mixtransfer.common.messages import silent
from mixtransfer.deploy.benchmark import exported_everywhere, load, open_calls
from mixtransfer.deploy.latency import Duration, measure
from mixtransfer.deploy.memory import peak_memory
from mixtransfer.deploy.runtimes import MEASURED, RUNTIMES
from mixtransfer.deploy.source import open_source
from mixtransfer.errors import UserError
from mixtransfer.runs.run import NOT_RECORDED, Run

BATCH = 16  # for throughput


@final
@dataclass
class Cost:
    """The cost of using one model.

    Attributes:
        params: Learnable numbers.
        macs: Multiply-adds of an image.
        image_size: Side of the input in pixels.
        file_size: Of the weights, in bytes.
        latency: Seconds for one image, by runtime.
        throughput: Images a second in batches of 16, by runtime.
        memory: Bytes that 16 images need at most in the fastest runtime, beyond a process that has not opened the
            model; None if unknown.
        unavailable: Why a runtime cannot run the model, by runtime.
    """

    params: int
    macs: int
    image_size: int
    file_size: int
    latency: dict[str, Duration] = field(default_factory=dict)
    throughput: dict[str, float] = field(default_factory=dict)
    memory: int | None = None
    unavailable: dict[str, str] = field(default_factory=dict)

    @property
    def fastest(self) -> str | None:
        """The runtime with the shortest latency; None if none was measured."""
        return min(self.latency, key=lambda runtime: self.latency[runtime].median, default=None)


def measure_costs(runs: Mapping[str, Run], task: str, rounds: int, say: Callable[[str], None]) -> dict[str, Cost]:
    """The cost of several trained models, their latencies measured in turns.

    Args:
        runs: A run of each backbone.
        task: "classify" or "detect". A detector is measured from pixels to boxes.
        rounds: Measurements of each latency; 0 leaves latency and memory out.
    """
    costs: dict[str, Cost] = {}
    calls: dict[tuple[str, str, int], Callable[[], object]] = {}
    places: dict[tuple[str, str], str] = {}
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, run) in enumerate(runs.items()):
            source = open_source(run.folder)
            numbers, size = source.cost(), source.preprocessing.size
            costs[name] = Cost(numbers["params"], numbers["macs"], size, run.weights.stat().st_size)
            if not rounds:
                continue
            say(f"{name}: preparing {', '.join(RUNTIMES[runtime].label for runtime in MEASURED)}.")
            own = Path(folder, str(number))
            own.mkdir()
            for runtime, place in exported_everywhere(source, own, costs[name].unavailable, silent).items():
                places[name, runtime] = place
                made = open_calls(runtime, place, (1, BATCH), threads)
                calls |= {(name, runtime, batch): call for batch, call in made.items()}
        if calls:
            say(f"Measuring latency: {rounds} rounds of {len(calls)} calls in turns.")
        for (name, runtime, batch), duration in (measure(calls, rounds) if calls else {}).items():
            if batch == 1:
                costs[name].latency[runtime] = duration
            else:
                costs[name].throughput[runtime] = batch / duration.median
        for name, cost in costs.items():
            if fastest := cost.fastest:
                opener = partial(open_calls, fastest, places[name, fastest], (1, BATCH), threads)
                cost.memory = peak_memory(partial(load, fastest), opener).get(BATCH)
    return costs


def training_cost(run: Run) -> dict[str, float | None]:
    """Minutes, images a second (median) and peak resident memory (MB) of a finished training.

    They are None of a run that ``mixtransfer.save_run`` wrote, which does not know them.

    Raises:
        UserError: A training has left no record of them, or a damaged one.
    """
    if run.read_config().get("weights") == NOT_RECORDED:
        return {"minutes": None, "images_per_second": None, "memory_mb": None}
    rows = run.read_history()
    whole = run.read_metrics().get("training") or {}  # that of folds with it
    seconds, speeds, memory = (
        sorted(value for row in rows if (value := row.get(name)) is not None)
        for name in ("seconds", "images_per_second", "rss_mb")
    )
    if not memory:
        raise UserError(f"{run.history} is damaged: it should have the column rss_mb.")
    return {
        "minutes": round((whole.get("seconds") or sum(seconds)) / 60, 2),
        "images_per_second": speeds[len(speeds) // 2] if speeds else None,
        "memory_mb": memory[-1],
    }
