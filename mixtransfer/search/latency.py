"""Latency of any network of a space in a runtime, by a model that some measured networks of it give.

A sum over what a network computes, with times that are fitted to whole networks as the runtime runs them: there are
thousands of different blocks, and what a block takes alone is not what it takes in a network.
"""

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls

from mixtransfer.backbones import Architecture, architecture_spec, create_backbone
from mixtransfer.backbones.mixconv import split_channels
from mixtransfer.common.files import write_atomic
from mixtransfer.data.preprocessing import Preprocessing
from mixtransfer.deploy.latency import measure
from mixtransfer.deploy.runtimes import RUNTIMES
from mixtransfer.deploy.runtimes.base import example_input
from mixtransfer.deploy.source import Source
from mixtransfer.errors import UserError
from mixtransfer.search.space import KERNELS, Space

FITTED, HELD_OUT = 24, 8  # networks that are measured: for the times, and to see how far these are off
ROUNDS = 15

Say = Callable[[str], None]


@dataclass(frozen=True)
class LatencyModel:
    """Seconds of one image.

    Attributes:
        times: Seconds for each of ``contents``, none negative.
        error: Median share by which networks that it was not fitted to were off.
        worst: The largest such share.
    """

    times: tuple[float, ...]
    error: float
    worst: float

    def __call__(self, architecture: Architecture) -> float:
        return float(np.dot(self.times, contents(architecture)))

    @classmethod
    def fit(cls, networks: Sequence[Architecture], seconds: Sequence[float], held_out: int) -> "LatencyModel":
        """Fit to all but the last ``held_out`` networks."""
        counts, measured = np.array([contents(one) for one in networks]), np.array(seconds)
        relative = counts / measured[:, None]  # so that errors are shares of the latency
        fitted = len(networks) - held_out
        scale = relative[:fitted].max(0)
        scale[scale == 0] = 1
        times = nnls(relative[:fitted] / scale, np.ones(fitted))[0] / scale
        off = np.abs(relative[fitted:] @ times - 1)
        return cls(tuple(times.tolist()), float(np.median(off)), float(off.max()))


def contents(architecture: Architecture) -> list[float]:
    """What a network computes for an image, in the units of ``LatencyModel.times``.

    One network; multiply-adds of its 1×1 convolutions; of depthwise ones by kernel size; numbers between layers;
    convolutions; squeeze-excites.
    """
    side = (architecture.image_size + 1) // 2
    points, numbers, convolutions, squeezes = 0.0, float(side**2 * architecture.stem), 1, 0
    depthwise = dict.fromkeys(KERNELS, 0.0)
    channels = architecture.stem
    for block in architecture:
        middle = round(channels * block.expand)
        if block.kind == "ir":
            points += side**2 * channels * middle / len(block.expand_kernels)
            numbers += side**2 * middle
            convolutions += 1
        side = (side + 1) // 2 if block.stride == 2 else side
        for count, kernel in zip(split_channels(middle, len(block.kernels)), block.kernels, strict=True):
            depthwise[kernel] += side**2 * count * kernel**2
        points += side**2 * middle * block.channels / len(block.project_kernels)
        numbers += side**2 * (middle + block.channels)
        convolutions += 1 + len(block.kernels)
        squeezes += bool(block.se)
        channels = block.channels
    points += side**2 * channels * architecture.head
    return [1.0, points, *depthwise.values(), numbers, float(convolutions), float(squeezes)]


def learn_latency(space: Space, runtime: str, file: Path, say: Say) -> LatencyModel:
    """The model of a runtime on this machine, from a file or by measuring random networks, which are written to it.

    Raises:
        UserError: The runtime is not installed, or the file is damaged.
    """
    RUNTIMES[runtime].require(f"--runtime {runtime}")
    if file.exists():
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
            return LatencyModel(tuple(map(float, kept["times"])), float(kept["error"]), float(kept["worst"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file} is damaged: remove it to measure anew.") from error
    generator = np.random.default_rng(0)
    networks = [space.architecture(space.sample(generator)) for _ in range(FITTED + HELD_OUT)]
    say(f"Measuring {len(networks)} networks in {RUNTIMES[runtime].label}.")
    model = LatencyModel.fit(networks, latencies(networks, runtime, space.num_classes), HELD_OUT)
    write_atomic(file, json.dumps({"runtime": runtime, **vars(model)}, indent=2) + "\n")
    say(
        f"Latency is estimated within {100 * model.error:.0f} % (at worst {100 * model.worst:.0f} %) of {HELD_OUT} "
        "networks that the estimate was not made of."
    )
    return model


@torch.inference_mode()
def latencies(networks: Sequence[Architecture], runtime: str, classes: int) -> list[float]:
    """Measured medians for one image, in turns, in seconds."""
    calls: dict[int, Callable[[], object]] = {}
    names = [str(i) for i in range(classes)]
    with tempfile.TemporaryDirectory() as folder:
        for i, architecture in enumerate(networks):
            model = create_backbone(architecture_spec(architecture), "none", classes).eval()
            preprocessing = Preprocessing(size=architecture.image_size)
            source = Source(None, "classification", architecture.name, model, preprocessing, names)
            own = Path(folder, str(i))
            own.mkdir()
            call: Any = RUNTIMES[runtime].prepare(source, torch.get_num_threads(), own)
            calls[i] = partial(call, example_input(source, 1))
        measured = measure(calls, ROUNDS)
    return [measured[i].median for i in range(len(networks))]
