"""What a trained model costs here: size, multiply-adds, latency, throughput, memory, and its training."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import final

import torch

from mixtransfer.backbones import count_macs, count_parameters
from mixtransfer.deploy.latency import Duration, measure
from mixtransfer.deploy.memory import peak_memory
from mixtransfer.deploy.runtimes import installed_runtimes, prepare
from mixtransfer.errors import UserError
from mixtransfer.run import Run

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
        memory: Bytes that 16 images need at most beyond an idle process with PyTorch, weights included; None if
            unknown.
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


def measure_costs(runs: Mapping[str, Run], task: str, rounds: int, say: Callable[[str], None]) -> dict[str, Cost]:
    """The cost of several trained models, their latencies measured in turns.

    Args:
        runs: A run of each backbone.
        task: "classify" or "detect". Detectors run in PyTorch only, from pixels to boxes.
        rounds: Measurements of each latency; 0 leaves latency and memory out.
    """
    costs: dict[str, Cost] = {}
    calls: dict[tuple[str, str, int], Callable[[], object]] = {}
    for name, run in runs.items():
        model, size = _open(run, task)
        costs[name] = Cost(*_size(model, size, task), size, run.weights.stat().st_size)
        if not rounds:
            continue
        say(f"{name}: preparing {', '.join(_runtimes(task))}.")
        for runtime in _runtimes(task):
            try:
                made = _calls(model, size, task, runtime)
            except Exception as error:  # a runtime's exporter can fail in any way; the others remain
                costs[name].unavailable[runtime] = str(error).strip().splitlines()[0][:200]
                continue
            calls |= {(name, runtime, batch): call for batch, call in made.items()}
        costs[name].memory = max(peak_memory(partial(_open_calls, run.folder, task)).values(), default=None)
    if calls:
        say(f"Measuring latency: {rounds} rounds of {len(calls)} calls in turns.")
    for (name, runtime, batch), duration in (measure(calls, rounds) if calls else {}).items():
        if batch == 1:
            costs[name].latency[runtime] = duration
        else:
            costs[name].throughput[runtime] = batch / duration.median
    return costs


def training_cost(run: Run) -> dict[str, float | None]:
    """Minutes, images a second (median) and peak resident memory (MB) of a finished training."""
    rows = run.read_history()
    whole = run.read_metrics().get("training") or {}  # that of folds with it
    seconds, speeds, memory = (
        sorted(value for row in rows if (value := row.get(name)) is not None)
        for name in ("seconds", "images_per_second", "rss_mb")
    )
    if not memory:
        raise UserError(f"{run.folder / 'metrics.csv'} is damaged: it should have the column rss_mb.")
    return {
        "minutes": round((whole.get("seconds") or sum(seconds)) / 60, 2),
        "images_per_second": speeds[len(speeds) // 2] if speeds else None,
        "memory_mb": memory[-1],
    }


def _runtimes(task: str) -> list[str]:
    return installed_runtimes() if task == "classify" else ["pytorch"]


def _open(run: Run, task: str) -> tuple[torch.nn.Module, int]:
    """The model in evaluation mode, and the side of its input."""
    if task == "classify":
        from mixtransfer.classification.model import open_classifier

        trained = open_classifier(run.folder)
        return trained.model, trained.preprocessing.size
    from mixtransfer.detection.model import open_detector

    detector = open_detector(run.folder)
    return detector.model, detector.spec.image_size


def _size(model: torch.nn.Module, size: int, task: str) -> tuple[int, int]:
    if task == "classify":
        return count_parameters(model), count_macs(model, (3, size, size))
    from mixtransfer.detection.ssdlite.cost import network_cost

    cost = network_cost(model, size)
    return cost["params"], cost["macs"]


def _calls(model: torch.nn.Module, size: int, task: str, runtime: str) -> dict[int, Callable[[], object]]:
    """A call without arguments for each batch size."""
    generator = torch.Generator().manual_seed(0)
    if task == "classify":
        images = torch.randn(BATCH, 3, size, size, generator=generator)
        made = prepare(runtime, model, size, (1, BATCH))
        return {batch: partial(call, images[:batch].clone()) for batch, call in made.items()}
    images = torch.randint(0, 256, (BATCH, 3, size, size), dtype=torch.uint8, generator=generator)
    inputs = [{"image": image} for image in images]
    return {batch: partial(torch.inference_mode()(model), inputs[:batch]) for batch in (1, BATCH)}


def _open_calls(folder: Path, task: str) -> tuple[int, dict[int, Callable[[], object]]]:
    model, size = _open(Run(folder), task)
    weights = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    return weights, _calls(model, size, task, "pytorch")
