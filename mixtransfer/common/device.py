"""What is computed on: the one place that chooses."""

from typing import TYPE_CHECKING

from mixtransfer.errors import UserError

if TYPE_CHECKING:
    import torch


def best_device() -> "torch.device":
    """The accelerator that torch finds here (CUDA, Apple's MPS, Intel's XPU …), or the CPU."""
    import torch

    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def choose_device(name: str) -> "torch.device":
    """The ``torch.device`` of that name; "auto" is the best there is.

    Raises:
        UserError: It cannot be used here.
    """
    import torch

    if name == "auto":
        return best_device()
    try:
        device = torch.device(name)
        torch.empty(1, device=device).item()  # on "meta" there are no values
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {name} cannot be used here; try cpu or auto.") from error
    return device
