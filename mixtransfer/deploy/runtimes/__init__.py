"""The runtimes: one object each, and all that the rest of the package knows of them."""

from pathlib import Path

from mixtransfer.deploy.runtimes.base import FileRuntime, Runtime
from mixtransfer.deploy.runtimes.coreml import CoreML
from mixtransfer.deploy.runtimes.executorch import ExecuTorch
from mixtransfer.deploy.runtimes.litert import LiteRT
from mixtransfer.deploy.runtimes.onnxruntime import OnnxRuntime
from mixtransfer.deploy.runtimes.openvino import OpenVino
from mixtransfer.deploy.runtimes.pytorch import PyTorch
from mixtransfer.deploy.runtimes.torch_export import TorchExport
from mixtransfer.deploy.web.format import Web

FILE_RUNTIMES: dict[str, FileRuntime] = {
    runtime.format: runtime for runtime in (OnnxRuntime(), OpenVino(), TorchExport(), ExecuTorch(), LiteRT(), CoreML())
}
FORMATS: dict[str, FileRuntime] = {**FILE_RUNTIMES, Web.format: Web()}  # what `export` writes
RUNTIMES: dict[str, Runtime] = {runtime.name: runtime for runtime in (PyTorch(), *FILE_RUNTIMES.values())}
MEASURED = ("pytorch", "onnxruntime", "openvino")  # what `compare` and `benchmark` measure, where it is installed


def runtime_of(path: Path | str) -> FileRuntime | None:
    """The runtime of a file, by its name; None if it is that of no exported file."""
    path = Path(path)
    suffix = path.suffix.lower()
    found = (runtime for runtime in FILE_RUNTIMES.values() if runtime.suffixes[0] == suffix)
    runtime = next(found, None)
    return None if runtime and path.is_dir() and not runtime.is_folder else runtime
