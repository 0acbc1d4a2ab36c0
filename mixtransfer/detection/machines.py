"""Where a training runs: in this process, or in one for each GPU, of all machines."""

from typing import Any

import torch
from lightning.pytorch.loggers import Logger

from mixtransfer.data.detection.dataset import DetectionDataset
from mixtransfer.detection.compat import launch, prepare_detectron2
from mixtransfer.detection.options import TrainOptions
from mixtransfer.errors import UserError
from mixtransfer.loggers import open_loggers
from mixtransfer.messages import tell
from mixtransfer.process import prepare_process
from mixtransfer.run import Run

ENOUGH = 8  # images a device, for batch norms that are not synchronized


def train_on_devices(run: Run, options: TrainOptions, dataset: DetectionDataset, *more: Any) -> list[Logger]:
    """Train in one process, or in one for each GPU of all machines, or in several on the CPU of one.

    Returns:
        The loggers, open.
    """
    devices = devices_of(options)
    args = (run, options, dataset, *more)
    if devices * options.num_nodes == 1:
        return _train_in_process(*args)
    try:
        launch(_train_in_new_process, devices, options.num_nodes, options.machine_rank, options.dist_url, args)
    except torch.multiprocessing.ProcessRaisedException as error:
        # It has the other process's whole traceback in its text.
        last = str(error).strip().splitlines()[-1]
        kind = f"{UserError.__module__}.{UserError.__name__}: "
        if last.startswith(kind):
            raise UserError(last.removeprefix(kind)) from error
        raise
    # Those of the other processes ended with them; only the first machine writes.
    return [] if options.machine_rank else open_loggers(options.logger, run.folder)


def devices_of(options: TrainOptions) -> int:
    """Processes of this machine. By default a GPU each, as long as its batch norms see ``ENOUGH`` images of a batch."""
    gpus = torch.cuda.device_count()
    if options.devices != "auto":
        return options.devices
    shares = [count for count in range(1, gpus + 1) if options.batch_size % (count * options.num_nodes) == 0]
    chosen = max((one for one in shares if options.batch_size >= ENOUGH * one * options.num_nodes), default=1)
    if chosen < gpus:
        tell(
            f"Using {chosen} of {gpus} GPUs: a batch of {options.batch_size} images gives each of them {ENOUGH} or "
            "more, as batch norm wants. More by a larger --batch-size, or by --devices."
        )
    return chosen


def _train_in_new_process(*args) -> None:
    prepare_process()
    _train_in_process(*args)


def _train_in_process(*args) -> list[Logger]:
    """Importable in a new process, where detectron2 has to be prepared first."""
    prepare_detectron2()
    from mixtransfer.detection.loop import train_in_process

    return train_in_process(*args)
