"""What every runtime can do: write a network in its format, open the file, and run it."""

import importlib.util
import logging
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch

from mixtransfer.deploy.metadata import Metadata
from mixtransfer.deploy.network import ExportNetwork, Rule
from mixtransfer.deploy.source import Source
from mixtransfer.errors import UserError

Call = Callable[[np.ndarray], list[np.ndarray]]
Precision = Literal["fp32", "fp16", "int8"]
Target = Literal["avx2", "avx512", "arm", "gpu"]


@dataclass(frozen=True)
class Opened:
    """A file in its runtime.

    Attributes:
        description: What the file says of itself, as JSON; None if it says nothing.
        call: The graph's outputs for its input.
    """

    description: str | None
    call: Call


class Runtime(ABC):
    """One way to run a network.

    Attributes:
        name: In ``benchmark.json``, ``comparison.json`` and ``--limit latency.NAME``.
        label: For people.
        modules: What must be installed.
        extra: Of mixtransfer, which brings them.
        in_torch: Whether the number of threads is that of PyTorch, one for the whole process.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    modules: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = "export"
    in_torch: ClassVar[bool] = False

    @abstractmethod
    def prepare(self, source: Source, threads: int, folder: Path, device: str = "cpu") -> Call:
        """A network as this runtime runs it, from what ``example_input`` gives to its outputs.

        Args:
            folder: For files that must stay as long as the call.
        """

    def devices(self) -> list[str]:
        """What can be computed on here, as ``--device`` calls it; "cpu" first."""
        return ["cpu"]

    @property
    def installed(self) -> bool:
        return all(importlib.util.find_spec(module) for module in self.modules)

    def require(self, what: str, modules: tuple[str, ...] | None = None) -> None:
        """
        Args:
            what: Needs the modules, in words.
            modules: By default those of the runtime.

        Raises:
            UserError: One is not installed; the message says how to install it.
        """
        needed = self.modules if modules is None else modules
        if module := next((module for module in needed if importlib.util.find_spec(module) is None), None):
            raise UserError(f"{what} needs the package {module}: pip install 'mixtransfer[{self.extra}]'.")

    def choose_device(self, name: str) -> str:
        """The device of that name; "auto" is a CUDA GPU where this runtime has one, else the CPU.

        Raises:
            UserError: This runtime has no such device here.
        """
        known = self.devices()
        if name == "auto":
            return "cuda" if "cuda" in known else "cpu"
        if name not in known:
            raise UserError(f"--device {name} cannot be used: {self.label} has {', '.join(known)} here.")
        return name


class FileRuntime(Runtime):
    """A runtime with files of its own, which `export` writes.

    Attributes:
        format: What ``export --format`` calls them.
        suffixes: Of them, the one to open first.
        writers: Modules that must be installed to write one, besides those to run it.
        precisions: What they can compute in; the first is the default.
        is_folder: Whether they are folders.
        is_site: Whether an export is a folder with a page around the file, which then takes pixels and gives
            probabilities or boxes.
    """

    format: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    writers: ClassVar[tuple[str, ...]] = ()
    precisions: ClassVar[tuple[Precision, ...]] = ("fp32",)
    is_folder: ClassVar[bool] = False
    is_site: ClassVar[bool] = False

    @property
    def runs_here(self) -> bool:
        """Whether the runtime is for this operating system; files can be written anywhere."""
        return True

    @abstractmethod
    def rule(self, target: Target) -> Rule:
        """How a network is fused so that it is fastest on such a processor, as far as that was measured."""

    @abstractmethod
    def write(self, network: ExportNetwork, metadata: Metadata, path: Path, half: bool = False) -> None:
        """Write a file, its companions beside it.

        Args:
            half: Weights and, where the runtime has it, arithmetic in 16-bit floating point.
        """

    @abstractmethod
    def open(self, path: Path, threads: int, device: str = "cpu") -> Opened:
        """Open a file of this format; no code of it is run.

        Raises:
            UserError: It is something that is not opened.
            Exception: It is damaged; every runtime has errors of its own.
        """

    def require_writers(self) -> None:
        """
        Raises:
            UserError: What it takes to write a file and to check it is not installed.
        """
        self.require(f"The format {self.format}", (*self.writers, *self.modules))

    def export(self, source: Source, folder: Path) -> Path:
        """Write a file for this machine's processor; that of a detector takes images as they decode."""
        self.require_writers()
        path, target = folder / f"model{self.suffixes[0]}", this_target()
        network = source.network(source.task == "detection", False, self.rule(target))
        self.write(network, source.describe(network, target), path)
        return path

    def prepare(self, source: Source, threads: int, folder: Path, device: str = "cpu") -> Call:
        return self.open(self.export(source, folder), threads, device).call


def need_raw(runtime: FileRuntime, network: ExportNetwork) -> None:
    """
    Raises:
        UserError: The network has non-maximum suppression inside, which the runtime has not.
    """
    if "labels" in network.outputs:
        raise UserError(f"{runtime.label} has no non-maximum suppression: export a detector for it with --raw.")


def example_input(source: Source, batch: int) -> np.ndarray:
    """Random images as the calls of ``Runtime.prepare`` take them.

    Those of a classifier are float32 (batch, 3, size, size), normalised; of a detector uint8 (batch, size, size, 3).
    """
    random, size = np.random.default_rng(0), source.preprocessing.size
    if source.task == "detection":
        return random.integers(0, 256, (batch, size, size, 3), np.uint8)
    return random.standard_normal((batch, 3, size, size), np.float32)


def this_target() -> Target:
    """The kind of this machine's processor."""
    names: dict[str, Target] = {"AVX512": "avx512", "NEON": "arm", "SVE256": "arm", "SVE128": "arm", "SVE": "arm"}
    return names.get(torch.backends.cpu.get_cpu_capability(), "avx2")


def first_line(error: Exception) -> str:
    """What an exporter or a runtime says has happened, short."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:150]


def one_at_a_time(call: Call) -> Call:
    """A call that several threads may make: of a runtime whose memory for one call is that of the next."""
    lock = threading.Lock()

    def locked(images: np.ndarray) -> list[np.ndarray]:
        with lock:
            return call(images)

    return locked


def image_by_image(call: Call) -> Call:
    """A call for any number of images, of a graph for one: outputs in which there is one are put together."""

    def called(images: np.ndarray) -> list[np.ndarray]:
        found = zip(*(call(images[i : i + 1]) for i in range(len(images))), strict=True)
        return [np.concatenate(parts) if len(parts[0]) == 1 else parts[0] for parts in found]

    return called


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporters' messages to developers."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
