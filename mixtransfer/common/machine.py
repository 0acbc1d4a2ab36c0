"""What a result was made with: versions and the machine, for reports."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("mixtransfer", "torch", "torchvision", "timm", "lightning", "albumentations", "numpy", "pillow")


def package_versions(more: Sequence[str] = ()) -> dict[str, str]:
    """Installed versions of what influences a result, and of ``more`` packages."""
    versions = {"python": platform.python_version()}
    for name in (*PACKAGES, *more):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def machine() -> dict[str, str]:
    """What this machine is, in words, for reports."""
    import torch

    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "accelerator": accelerator,
    }


def processor_state() -> dict[str, str]:
    """What a measurement of speed depends on besides the machine: instructions, cores and clock."""
    import torch

    state = {"instructions": torch.backends.cpu.get_cpu_capability()}
    if hasattr(os, "sched_getaffinity"):
        usable = sorted(os.sched_getaffinity(0))
        state["pinned to"] = "no core" if len(usable) == os.cpu_count() else f"cores {', '.join(map(str, usable))}"
    try:
        state["governor"] = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").read_text().strip()
    except OSError:
        state["governor"] = "not told"
    return state


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"
