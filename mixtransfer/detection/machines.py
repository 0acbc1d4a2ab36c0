"""Where a training runs: in this process, or in one for each GPU, of all machines."""

import contextlib
import multiprocessing.connection
import os
import pickle
import threading
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing import spawn
from multiprocessing.connection import Connection
from typing import Any

import torch
from joblib import wrap_non_picklable_objects
from lightning.pytorch.loggers import Logger

from mixtransfer.common.messages import tell
from mixtransfer.common.process import prepare_process
from mixtransfer.data.detection.dataset import DetectionDataset
from mixtransfer.detection.compat import launch, prepare_detectron2
from mixtransfer.detection.options import TrainOptions
from mixtransfer.errors import UserError
from mixtransfer.runs.run import Run

ENOUGH = 8  # images a device, for batch norms that are not synchronized


def train_on_devices(
    run: Run, options: TrainOptions, dataset: DetectionDataset, loggers: Sequence[Logger], augment: Any, hooks: Any
) -> None:
    """Train in one process, or in one for each GPU of all machines, or in several on the CPU of one.

    Args:
        loggers: Of this process; the others log by way of it.
        augment, hooks: See ``mixtransfer.detection.train.train``.
    """
    devices = devices_of(options)
    if devices * options.num_nodes == 1:
        _train_in_process(run, options, dataset, loggers, augment, hooks)
        return
    # A lambda among them goes by value; and as bytes, which are read where detectron2 is ready.
    own = pickle.dumps(wrap_non_picklable_objects((augment, hooks), keep_wrapper=False))
    try:
        with _passed_on(loggers) as far, _without_the_script():
            args = (run, options, dataset, [far] if loggers else [], own)
            launch(_train_in_new_process, devices, options.num_nodes, options.machine_rank, options.dist_url, args)
    except torch.multiprocessing.ProcessRaisedException as error:
        # It has the other process's whole traceback in its text.
        last = str(error).strip().splitlines()[-1]
        kind = f"{UserError.__module__}.{UserError.__name__}: "
        if last.startswith(kind):
            raise UserError(last.removeprefix(kind)) from error
        raise


@contextlib.contextmanager
def _without_the_script() -> Iterator[None]:
    """Have the processes that this thread starts not import the program that trains, which would train once more.

    Nothing of it is needed there: what is of the program goes there by value.
    """
    caller, prepare = threading.get_ident(), spawn.get_preparation_data

    def prepared(name: str) -> dict[str, Any]:
        data = prepare(name)
        if threading.get_ident() == caller:
            for key in ("init_main_from_name", "init_main_from_path"):
                data.pop(key, None)
        return data

    spawn.get_preparation_data = prepared
    try:
        yield
    finally:
        spawn.get_preparation_data = prepare


class FarLogger:
    """Logs in the process at the other end: a tracker's client cannot go on in one what another has begun."""

    def __init__(self, connection: Connection):
        self.connection = connection

    def log_hyperparams(self, values: Mapping[str, Any]) -> None:
        self.connection.send(("log_hyperparams", values))

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        self.connection.send(("log_metrics", values, step))

    def save(self) -> None:
        self.connection.send(("save",))


@contextlib.contextmanager
def _passed_on(loggers: Sequence[Logger]) -> Iterator[FarLogger]:
    """What other processes may give to loggers of this one; whatever came has been logged in the end."""
    receiver, sender = torch.multiprocessing.get_context("spawn").Pipe(duplex=False)

    def pass_on() -> None:
        with contextlib.suppress(EOFError, OSError):  # the last process with the other end has gone
            while True:
                name, *args = receiver.recv()
                for logger in loggers:
                    try:
                        getattr(logger, name)(*args)
                    except Exception as error:  # of a service that is away by now
                        tell(f"Warning: {type(logger).__name__} did not take a row ({type(error).__name__}: {error}).")

    thread = threading.Thread(target=pass_on, daemon=True)
    thread.start()
    try:
        yield FarLogger(sender)
    finally:
        sender.close()
        thread.join()


def devices_of(options: TrainOptions) -> int:
    """Processes of this machine. By default a GPU each, as long as its batch norms see ``ENOUGH`` images of a batch."""
    gpus = torch.cuda.device_count()
    batch = options.batch_size
    assert batch
    if options.devices != "auto":
        if batch % (every := options.devices * options.num_nodes):
            raise UserError(
                f"{every} devices cannot share a batch of {batch} images: take a multiple of {every} for --batch-size."
            )
        return options.devices
    shares = [count for count in range(1, gpus + 1) if batch % (count * options.num_nodes) == 0]
    chosen = max((one for one in shares if batch >= ENOUGH * one * options.num_nodes), default=1)
    if chosen < gpus:
        tell(
            f"Using {chosen} of {gpus} GPUs: a batch of {batch} images gives each of them {ENOUGH} or "
            "more, as batch norm wants. More by a larger --batch-size, or by --devices."
        )
    return chosen


def _train_in_new_process(run: Run, options: TrainOptions, dataset: DetectionDataset, loggers: Any, own: bytes) -> None:
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    prepare_process()
    prepare_detectron2()  # which a hook of the user's is read by
    _train_in_process(run, options, dataset, loggers, *pickle.loads(own))


def _end_with_the_parent() -> None:
    """Or those whose command was killed would go on, beside another that resumes it."""
    parent = multiprocessing.parent_process()
    assert parent
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


def _train_in_process(*args) -> None:
    """Importable in a new process, where detectron2 has to be prepared first."""
    prepare_detectron2()
    from mixtransfer.detection.loop import train_in_process

    train_in_process(*args)
