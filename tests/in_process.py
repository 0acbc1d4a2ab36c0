"""Trainings that `compare` starts in processes of their own run in the test's instead, which is quicker."""

import traceback

import pytest


def start_in_process(patch: pytest.MonkeyPatch) -> None:
    """Until the patch is undone, what torch would start in one process of its own runs here."""
    import torch

    patch.setattr(torch.multiprocessing, "start_processes", _start_here)


def _start_here(function, args, nprocs, start_method):
    from torch.multiprocessing import ProcessRaisedException

    try:
        function(0, *args)
    except Exception:
        raise ProcessRaisedException(traceback.format_exc(), 0, 0) from None
