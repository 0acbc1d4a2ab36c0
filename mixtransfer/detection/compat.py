"""detectron2 as it is installed: the only file that knows its versions.

``mixtransfer install-detectron2`` installs the official source, which compiles its operators, or where GitHub cannot be
reached the Python files of v0.6 alone. SSDLite needs none of the operators, so both serve.
"""

import builtins
import contextlib
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from mixtransfer.errors import UserError

HOW_TO_INSTALL = "install it with `mixtransfer install-detectron2`"
_TRAINS = threading.RLock()  # a hook may train another detector
_READY: ModuleType | None = None  # the detectron2 that ``prepare_detectron2`` has imported


@contextlib.contextmanager
def one_at_a_time(say: Callable[[str], None]) -> Iterator[None]:
    """Train alone in this process: detectron2 keeps what is logged of a training in one place."""
    if not _TRAINS.acquire(blocking=False):
        say("Waiting for the end of another detector's training in this process.")
        _TRAINS.acquire()
    try:
        yield
    finally:
        _TRAINS.release()


def prepare_detectron2() -> None:
    """Make ``import detectron2`` work. Call it before the first such import; more calls do nothing.

    Raises:
        UserError: detectron2 or a package that it needs is missing, or it is too broken to be imported.
    """
    global _READY
    if _READY is not None and sys.modules.get("detectron2") is _READY:
        return
    if find_spec("detectron2") is None:
        raise UserError(f"Detection needs detectron2, which is not installed: {HOW_TO_INSTALL}.")
    try:
        if not _compiled():
            _complete_python_files()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # it still calls torch.jit.script
            with _former_names():
                for module in ("config", "data", "engine", "evaluation", "modeling"):
                    import_module(f"detectron2.{module}")
    except ModuleNotFoundError as error:
        raise UserError(f"detectron2 needs the package {error.name}, which is missing: {HOW_TO_INSTALL}.") from error
    except (ImportError, AttributeError) as error:
        raise UserError(f"The installed detectron2 cannot be imported ({error}): {HOW_TO_INSTALL}.") from error
    _READY = sys.modules["detectron2"]


def launch(function: Callable, devices: int, num_nodes: int, machine_rank: int, url: str, args: tuple) -> None:
    """Call ``function(*args)`` in several processes by detectron2's ``launch``: one a GPU, on all machines.

    Without a GPU they are processes that talk by gloo, which the ``launch`` of v0.6 refuses.
    """
    import torch

    if torch.cuda.is_available():
        from detectron2.engine import launch as launch_on_gpus

        launch_on_gpus(function, devices, num_nodes, machine_rank, url, args)
        return
    with tempfile.TemporaryDirectory() as folder:
        meeting = f"file://{folder}/meeting" if url == "auto" else url
        world, first = devices * num_nodes, devices * machine_rank
        torch.multiprocessing.spawn(_on_the_cpu, (devices, world, first, meeting, function, args), nprocs=devices)


def _on_the_cpu(
    rank: int, processes: int, world: int, first: int, meeting: str, function: Callable, args: tuple
) -> None:
    import torch

    torch.set_num_threads(max(1, torch.get_num_threads() // processes))
    torch.distributed.init_process_group("gloo", init_method=meeting, world_size=world, rank=first + rank)
    function(*args)
    torch.distributed.destroy_process_group()


def load_lazy_config(path: str) -> Any:
    """What detectron2's ``LazyConfig.load`` reads. If that fails, v0.6 leaves Python's ``import`` as it bends it."""
    prepare_detectron2()
    from detectron2.config import LazyConfig

    own = builtins.__import__
    try:
        return LazyConfig.load(path)
    finally:
        builtins.__import__ = own


def describe_detectron2() -> str:
    """Which detectron2 is installed, such as "0.6, Python files only".

    Raises:
        UserError: None is, or it does not work.
    """
    prepare_detectron2()
    try:
        number = version("detectron2")
    except PackageNotFoundError:  # on the path without being installed
        number = sys.modules["detectron2"].__version__
    return f"{number}, {'official source, compiled' if _compiled() else 'Python files only'}"


def _compiled() -> bool:
    operators = sys.modules.get("detectron2._C")
    # The stand-in below has no spec.
    return (find_spec("detectron2._C") if operators is None else operators.__spec__) is not None


@contextlib.contextmanager
def _former_names() -> Iterator[None]:
    """Names of Pillow and NumPy that v0.6 uses and that are gone, for its modules alone that are imported meanwhile."""
    import numpy
    from PIL import Image

    added = not hasattr(Image, "LINEAR")  # until Pillow 10
    if added:
        vars(Image)["LINEAR"] = Image.Resampling.BILINEAR
    try:
        yield
    finally:
        if added:
            del vars(Image)["LINEAR"]
    former = ModuleType("numpy", "NumPy as it was before 1.24.")
    vars(former).update({"float": float, "int": int, **vars(numpy)})
    for name, module in list(sys.modules.items()):
        if name.startswith("detectron2.") and vars(module).get("np") is numpy:
            vars(module)["np"] = former


def _complete_python_files() -> None:
    """Give the Python files of v0.6 what they import or use and no longer, or never, find."""
    # Deformable convolutions and rotated boxes import the operators, which only they use.
    operators = ModuleType("detectron2._C", "Stands in for the compiled operators.")
    # What detectron2 writes at the head of a training's log.
    vars(operators).update(
        get_compiler_version=lambda: "none: Python files only", get_cuda_version=lambda: "none", has_cuda=lambda: False
    )
    sys.modules.setdefault("detectron2._C", operators)
    # The evaluator wants the compiled COCOeval; pycocotools' own gives the same numbers.
    evaluation = ModuleType("detectron2.evaluation.fast_eval_api", "Stands in for the compiled COCOeval.")
    vars(evaluation)["COCOeval_opt"] = import_module("pycocotools.cocoeval").COCOeval
    sys.modules.setdefault("detectron2.evaluation.fast_eval_api", evaluation)
