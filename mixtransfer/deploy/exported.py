"""Opening an exported file, of whatever format, as one kind of object; no code of the file is run."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from mixtransfer.data.preprocessing import Normalize, Preprocessing
from mixtransfer.deploy.metadata import Metadata
from mixtransfer.deploy.runtimes import FILE_RUNTIMES, runtime_of
from mixtransfer.deploy.runtimes.base import Call, FileRuntime, first_line
from mixtransfer.errors import UserError


class Exported:
    """A model that `mixtransfer export` wrote, ready for images.

    Attributes:
        path: The file.
        runtime: What it runs in.
        metadata: What the file says of itself.
        threads, device: What it runs by.

    Pickled it is its path: who reads it opens the file.
    """

    def __init__(self, path: Path, runtime: FileRuntime, metadata: Metadata, call: Call, threads: int, device: str):
        self.path, self.runtime, self.metadata = path, runtime, metadata
        self.threads, self.device = threads, device
        self._call = call
        self._normalize = Normalize(metadata.preprocessing)

    def __reduce__(self) -> tuple[Callable, tuple]:
        return open_exported, (self.path.absolute(), self.threads, self.device)

    @property
    def classes(self) -> list[str]:
        return self.metadata.classes

    @property
    def preprocessing(self) -> Preprocessing:
        return self.metadata.preprocessing

    def __call__(self, views: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs by name, see ``mixtransfer.deploy.network``, for uint8 images (n, size, size, 3).

        Raises:
            UserError: The graph fails, or answers something else than its description says.
        """
        images = self.to_input(views)
        try:
            outputs = self.run(images)
        except Exception as error:  # every runtime has errors of its own
            raise UserError(f"{self.path} cannot be run: its graph fails ({first_line(error)}).") from error
        if not self.metadata.fits(outputs, len(images)):
            raise UserError(f"{self.path} is damaged: its graph answers something else than its description says.")
        return dict(zip(self.metadata.outputs, outputs, strict=True))

    def to_input(self, views: np.ndarray) -> np.ndarray:
        """What the graph takes: the images as they are, or normalised, float32 (n, 3, size, size)."""
        if self.metadata.inside:
            return views
        return self._normalize(torch.from_numpy(views).permute(0, 3, 1, 2)).contiguous().numpy()

    def run(self, images: np.ndarray) -> list[np.ndarray]:
        """The outputs for the graph's own input."""
        return self._call(images)


def is_exported(path: Path | str) -> bool:
    """Whether a path is that of an exported file, by its name."""
    return runtime_of(path) is not None


def open_exported(path: Path | str, threads: int | None = None, device: str = "cpu") -> Exported:
    """Open an exported file.

    Args:
        path: With the suffix of a format; OpenVINO's weights (.bin) lie beside its .xml.
        threads: As many as PyTorch uses by default.
        device: One that its runtime has here; "auto" is a CUDA GPU where it has one, else the CPU.

    Raises:
        UserError: It is missing, damaged, not written by mixtransfer, or its runtime or the device is not there.
    """
    path = Path(path)
    runtime = runtime_of(path)
    if not (path.is_dir() if runtime and runtime.is_folder else path.is_file()):
        raise UserError(f"There is no exported file {path}.")
    if runtime is None:
        suffixes = ", ".join(runtime.suffixes[0] for runtime in FILE_RUNTIMES.values())
        raise UserError(f"{path} is no exported model: its name must end in {suffixes}.")
    runtime.require(str(path))
    device, threads = runtime.choose_device(device), threads or torch.get_num_threads()
    try:
        opened = runtime.open(path, threads, device)
    except UserError:
        raise
    except Exception as error:  # every runtime has errors of its own for a damaged file
        raise UserError(f"{path} is damaged or no exported model ({first_line(error)}).") from error
    return Exported(path, runtime, Metadata.from_json(opened.description, path), opened.call, threads, device)
