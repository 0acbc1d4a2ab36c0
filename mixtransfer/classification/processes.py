"""Several processes of a machine that train together.

The one that is asked for it is the first. It starts the others for this work alone: each does what the first does, with
what the first was given, and ends with it. Where a launcher such as torchrun has started all of them, none is started.
"""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from joblib import wrap_non_picklable_objects
from lightning.fabric.plugins.environments import (
    LightningEnvironment,
    LSFEnvironment,
    MPIEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning.fabric.plugins.environments.lightning import find_free_network_port
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from mixtransfer.common.host import keep_environment
from mixtransfer.common.signals import asked_to_end, sigterm_as_ctrl_c
from mixtransfer.errors import Interrupted, UserError

_PLACE = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK")  # where Lightning looks for a process's own
_SOON = 10.0  # seconds in which a process that has lost the others, or is to end, ends
GOES_THERE = "With devices above 1, callbacks and transforms go to other processes"
_LAUNCHERS = (TorchElasticEnvironment, SLURMEnvironment, LSFEnvironment, MPIEnvironment)


class _Place(LightningEnvironment):
    @property
    def creates_processes_externally(self) -> bool:
        return True


class _Launcher(_SubprocessScriptLauncher):
    @property
    def is_interactive_compatible(self) -> bool:
        return True


class StartedHere(DDPStrategy):
    """Data-parallel training by processes that ``together`` starts, in notebooks too; Lightning would by the script."""

    def __init__(self) -> None:
        super().__init__(cluster_environment=_Place())

    def _configure_launcher(self) -> None:
        assert self.cluster_environment
        self._launcher = _Launcher(self.cluster_environment, self.num_processes, self.num_nodes)


def strategy() -> DDPStrategy:
    """For a Trainer of several processes, whether a launcher has started them or nobody has yet."""
    launched = "LOCAL_RANK" in os.environ or any(launcher.detect() for launcher in _LAUNCHERS)
    return DDPStrategy() if launched and not _begun else StartedHere()


_begun = False  # whether this process is the first of some that `together` has started
_arrived: Path | None = None  # in one of the others: the file by which it says that it is ready to meet


@contextlib.contextmanager
def together(trainer: L.Trainer, work: Callable[..., object], *args: Any, go_on: str = "") -> Iterator[None]:
    """Have the processes that a Trainer wants; afterwards there are none, and this one is as it was.

    Args:
        trainer: A Trainer with which the work is done.
        work, args: What the others call, each of which comes to this function by it. Importable; the arguments go
            there by pickle, or by value where they are of the script.
        go_on: A sentence that says how to go on if one of them is ended from outside.

    Raises:
        UserError: One of them was ended from outside, or an argument cannot go there.
        Exception: What one of them has raised.
    """
    global _begun
    if not isinstance(trainer.strategy, DDPStrategy) or dist.is_initialized():
        yield  # of one process alone, or of a group of the caller's own
        return
    if _arrived:
        _arrived.touch()
        yield
        return
    with contextlib.ExitStack() as left:
        keep_environment(left, *_PLACE, "WORLD_SIZE", "OMP_NUM_THREADS")
        left.callback(torch.set_num_threads, torch.get_num_threads())
        left.callback(setattr, sys, "excepthook", sys.excepthook)
        if not isinstance(trainer.strategy, StartedHere):
            yield  # their group stays: they could not meet a second time
            return
        if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            left.enter_context(sigterm_as_ctrl_c())  # to one of them it is to all
        os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
        os.environ.setdefault("MASTER_PORT", str(find_free_network_port()))
        os.environ["LOCAL_RANK"] = "0"
        _begun = True
        left.callback(globals().update, _begun=False)
        others = _Others(left.enter_context(tempfile.TemporaryDirectory(prefix="mixtransfer-")), go_on)
        try:
            others.start(trainer.num_devices - 1, work, args)
            yield
            _part()
            others.wait()
        except RuntimeError as error:  # of torch too, where a process does not answer any more
            if asked_to_end():
                raise KeyboardInterrupt from error
            if first := others.failure(wait=_SOON / 2):
                raise first from first.__cause__ or error
            raise
        finally:
            others.ask_to_end()
            _part()  # which those see that wait for this one
            others.end()


class _Others:
    """The other processes of this machine.

    Args:
        folder: What they are given lies there, and what they have to say.
        go_on: See ``together``.
    """

    def __init__(self, folder: str, go_on: str):
        self.folder, self.go_on = Path(folder), go_on
        self.processes: list[subprocess.Popen] = []

    def start(self, number: int, work: Callable[..., object], args: tuple) -> None:
        """Start so many, and return when all are ready to meet: from then on torch says if one is missing."""
        if not number:
            return
        try:
            given = pickle.dumps(wrap_non_picklable_objects((work, args), keep_wrapper=False))
        except Exception as error:  # whatever a class of the user's raises
            raise UserError(f"{GOES_THERE}; these cannot ({error}).") from error
        (self.folder / "work").write_bytes(given)
        for rank in range(1, number + 1):
            begin = (
                f"import sys; sys.path[:] = {[entry for entry in sys.path if isinstance(entry, str)]}\n"
                "from mixtransfer.common.process import prepare_process; prepare_process()\n"  # before Lightning
                f"from {__name__} import follow; follow({str(self.folder)!r}, {rank})"
            )
            place = {**os.environ, "LOCAL_RANK": str(rank), "TQDM_DISABLE": "1"}
            self.processes.append(subprocess.Popen([sys.executable, "-c", begin], env=place, stdin=subprocess.PIPE))
        while not all((self.folder / f"{rank}.arrived").exists() for rank in range(1, number + 1)):
            if any(process.poll() is not None for process in self.processes):
                raise self.failure(wait=0.0) or RuntimeError("a process has ended before it began")
            time.sleep(0.05)

    def failure(self, wait: float = 0.0) -> BaseException | None:
        """What has ended the first of them that did not end well, for which this waits so many seconds."""
        until = time.monotonic() + wait
        while not (ended := [one for one in self.processes if one.poll()]):
            if time.monotonic() > until:
                return None
            time.sleep(0.05)
        if told := sorted(self.folder.glob("*.error"), key=lambda path: path.stat().st_mtime_ns):
            error, where = pickle.loads(told[0].read_bytes())
            error.__cause__ = RuntimeError(where)
            return error
        code = ended[0].returncode
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        why = ", probably for want of memory" if how == "SIGKILL" else ""
        return UserError(f"A process of this training was ended from outside ({how}{why}). {self.go_on}".strip())

    def wait(self) -> None:
        """Let them end by themselves.

        Raises:
            Exception: What one of them has raised in the end.
        """
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_SOON)
        if any(self.folder.glob("*.error")) and (failure := self.failure()):
            raise failure

    def ask_to_end(self) -> None:
        for process in self.processes:
            process.terminate()

    def end(self) -> None:
        """See those end that have been asked to."""
        for process in self.processes:
            try:
                process.wait(_SOON)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdin
            process.stdin.close()


def follow(folder: str, rank: int) -> None:
    """In one of the others: do the work that is described in ``folder``, and end with the first."""
    global _arrived
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    _arrived = Path(folder, f"{rank}.arrived")
    try:
        with sigterm_as_ctrl_c():
            try:
                work, args = pickle.loads(Path(folder, "work").read_bytes())
            except Exception as error:  # whatever a class of the user's raises
                raise UserError(f"{GOES_THERE}, where they cannot be read ({error}).") from error
            work(*args)
    except (KeyboardInterrupt, Interrupted):
        sys.exit(1)  # as the first was
    except BaseException as error:
        _tell(error, rank, Path(folder))
        sys.exit(1)


def _tell(error: BaseException, rank: int, folder: Path) -> None:
    """Leave an error for the first process, whole if it can go there, and where it was raised."""
    where = f"In process {rank}:\n{traceback.format_exc()}"
    try:
        told = pickle.dumps((error, where))
        whole = isinstance(pickle.loads(told)[0], BaseException)
    except Exception:  # whatever a class of the user's raises
        whole = False
    if not whole:
        told = pickle.dumps((RuntimeError(f"{type(error).__name__} in process {rank}"), where))
    part = folder / f"{rank}.part"
    part.write_bytes(told)
    part.replace(folder / f"{rank}.error")


def _end_with_the_first() -> None:
    # Nothing comes but the end. A lock of sys.stdin's would be held for ever in the loading processes.
    os.read(0, 1)
    os._exit(1)


def _part() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
