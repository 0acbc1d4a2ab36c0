"""Several processes that train together, in one training of a script after another.

Lightning starts each but the first by the script itself, which then calls every training of it too. It finds them again
by what it leaves in the environment and in torch.distributed; here that is put away when a training ends, and taken out
for the next one.
"""

import contextlib
import os
import sys
from collections.abc import Iterator

import psutil
import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.lightning import find_free_network_port

from mixtransfer.errors import UserError
from mixtransfer.host import keep_environment

_PLACE = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK")
_LAUNCHED = ("LOCAL_RANK", "RANK", "SLURM_PROCID", "MASTER_PORT")  # set by torchrun, SLURM or the user

_place: dict[str, str] = {}  # this process's among those that Lightning has started, for the next training
_started: list[psutil.Process] = []  # those that this process has had Lightning start


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Work for which Lightning may start processes; afterwards environment, threads and groups are as they were.

    What was set up before, by the user or a launcher such as torchrun, stays, and so does a group that is formed
    within it: its processes could not meet a second time.

    Raises:
        UserError: The processes that an earlier training had started have ended.
    """
    if not dist.is_available() or dist.is_initialized():
        yield
        return
    if _started and not all(process.is_running() and process.status() != "zombie" for process in _started):
        raise UserError(
            "The processes that an earlier training has started for this script have ended, and those of another would "
            "begin it anew: let them run to the end of the script, or train in a script of its own."
        )
    launched = any(name in os.environ for name in _LAUNCHED)
    with contextlib.ExitStack() as left:
        keep_environment(left, *_PLACE, "WORLD_SIZE", "OMP_NUM_THREADS")
        left.callback(torch.set_num_threads, torch.get_num_threads())
        os.environ.update(_place)
        try:
            yield
        finally:
            if dist.is_initialized():
                _part(launched, agreed=sys.exc_info()[0] is None)


def _part(launched: bool, agreed: bool) -> None:
    """End the group of processes, and note where to meet next.

    Args:
        launched: Whether this process had its place before.
        agreed: Whether the others are here too; not if an error ends the training.
    """
    port = [None if dist.get_rank() or launched else str(find_free_network_port())]
    if agreed:  # a new one: who is first would find the old meeting at the old one
        dist.broadcast_object_list(port)
        if port[0] is None:
            return
    elif dist.get_backend() != "gloo" or launched and not _place:
        return  # others would wait for those that are not here
    if not launched and not _started:
        _started.extend(_started_by(os.environ["MASTER_PORT"]))
    _place.update({name: os.environ[name] for name in _PLACE})
    if agreed:
        _place["MASTER_PORT"] = str(port[0])
    dist.destroy_process_group()


def _started_by(port: str) -> list[psutil.Process]:
    """The processes that were started with this place to meet."""
    found = []
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("MASTER_PORT") == port:
                found.append(process)
    return found
