"""Opening an exported file, of whatever format, as one kind of object; no code of the file is run."""

import importlib.util
import re
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mixtransfer.data.preprocessing import Normalize, Preprocessing
from mixtransfer.deploy.metadata import KEY, Metadata
from mixtransfer.errors import UserError

SUFFIXES = {".onnx": "onnx", ".xml": "openvino", ".pt2": "torch", ".pte": "executorch"}

_OPENVINO = re.compile(rb"\s*(<\?xml[^>]*\?>)?\s*<net\s")

Call = Callable[[np.ndarray], list[np.ndarray]]


class Exported:
    """A model that `mixtransfer export` wrote, ready for images.

    Attributes:
        path: The file.
        format: "onnx", "openvino", "torch" or "executorch".
        metadata: What the file says of itself.
    """

    def __init__(self, path: Path, format: str, metadata: Metadata, call: Call):
        self.path, self.format, self.metadata = path, format, metadata
        self._call = call
        self._normalize = Normalize(metadata.preprocessing)

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
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise UserError(f"{self.path} cannot be run: its graph fails ({reason[0][:150]}).") from error
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
    return Path(path).suffix.lower() in SUFFIXES and not Path(path).is_dir()


def open_exported(path: Path | str, threads: int | None = None) -> Exported:
    """Open an exported file for use on the CPU.

    Args:
        path: With one of ``SUFFIXES``; OpenVINO's weights (.bin) lie beside its .xml.
        threads: As many as PyTorch uses by default.

    Raises:
        UserError: It is missing, damaged, not written by mixtransfer, or its runtime is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"There is no exported file {path}.")
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path} is no exported model: its name must end in {', '.join(SUFFIXES)}.")
    format = SUFFIXES[path.suffix.lower()]
    package = {"onnx": "onnxruntime"}.get(format, format)
    if importlib.util.find_spec(package) is None:
        extra = "executorch" if package == "executorch" else "export"
        raise UserError(f"{path} needs the package {package}: pip install 'mixtransfer[{extra}]'.")
    openers = {"onnx": open_onnx, "openvino": open_openvino, "torch": _open_torch, "executorch": _open_executorch}
    try:
        text, call = openers[format](path, threads or torch.get_num_threads())
    except UserError:
        raise
    except Exception as error:  # every runtime has errors of its own for a damaged file
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{path} is damaged or no exported model ({reason[0][:150]}).") from error
    return Exported(path, format, Metadata.from_json(text, path), call)


def open_onnx(path: Path, threads: int) -> tuple[str | None, Call]:
    """The metadata and the call of an ONNX file, in ONNX Runtime."""
    import onnxruntime

    if tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 24):
        _refuse_references(path)
    session = onnx_session(path, threads)
    (entry,) = session.get_inputs()
    text = session.get_modelmeta().custom_metadata_map.get(KEY)
    return text, lambda images: session.run(None, {entry.name: images})


def _refuse_references(path: Path) -> None:
    """Refuse tensors that lie elsewhere: ONNX Runtime before 1.24 reads them from any file and any address in memory.

    Raises:
        UserError: The file names such a tensor, or onnx is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise UserError(
            f"{path} cannot be checked before it is opened: pip install onnx, or 'onnxruntime>=1.24'."
        ) from None

    def points_elsewhere(message: Any) -> bool:
        for field, value in message.ListFields():
            if field.name == "external_data":
                return True
            if field.message_type:
                parts = value if isinstance(value, Iterable) else [value]
                if any(map(points_elsewhere, parts)):
                    return True
        return False

    if points_elsewhere(onnx.load_model(path, load_external_data=False)):
        raise UserError(f"{path} keeps tensors in other files: such a file is not opened.")


def onnx_session(model: Path | bytes, threads: int, batch: int | None = None):
    """An ``onnxruntime.InferenceSession`` on the CPU, for one batch size or for any.

    Its threads wait busily for work within a run only: between runs they would slow down all else on the machine.
    """
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.log_severity_level = 4  # what it would print it also raises
    settings.add_session_config_entry("session.force_spinning_stop", "1")
    if batch:
        settings.add_free_dimension_override_by_name("batch", batch)
    return onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])


@cache
def openvino_core() -> Any:
    """The one ``openvino.Core`` of this process.

    Each one's CPU plugin sets the signal stack of its thread, and sets the former one again when it is collected. Of
    two that end in another order than the reverse of their beginning one sets a stack that is freed already, and the
    next signal (SIGCHLD, when a data-loading process ends) ends the process.
    """
    import openvino

    return openvino.Core()


def open_openvino(path: Path, threads: int) -> tuple[str | None, Call]:
    """The metadata and the call of an OpenVINO file: a network compiled for each batch size that comes.

    Compiled for one size it is faster than for any. A smaller batch is filled up to a size that is compiled already.
    """
    with path.open("rb") as file:
        if not _OPENVINO.match(file.read(200)):  # which OpenVINO would try as any other format that it knows
            raise UserError(f"{path} is no OpenVINO model, whatever its name says.")
    model = openvino_core().read_model(path)
    text = model.get_rt_info([KEY]).astype(str) if model.has_rt_info([KEY]) else None
    compiled: dict[int, Callable] = {}

    def call(images: np.ndarray) -> list[np.ndarray]:
        count = len(images)
        size = min((batch for batch in compiled if batch >= count), default=count)
        if size not in compiled:
            compiled[size] = compile_openvino(model, size, threads)
        if size > count:
            images = np.concatenate([images, np.zeros((size - count, *images.shape[1:]), images.dtype)])
        outputs = compiled[size](images)
        return [output[:count] if output.shape[:1] == (size,) else output for output in outputs]

    return text, call


def compile_openvino(model, batch: int, threads: int) -> Callable[[np.ndarray], list[np.ndarray]]:
    """An ``openvino.Model`` compiled for one batch size, in full precision and for latency."""
    fixed = model.clone()
    fixed.reshape([batch, *fixed.input().partial_shape[1:]])
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = openvino_core().compile_model(fixed, "CPU", settings).create_infer_request()

    def call(images: np.ndarray) -> list[np.ndarray]:
        found = request.infer({0: images}, share_inputs=True)
        return [found[i] for i in range(len(found))]

    return call


def _open_torch(path: Path, threads: int) -> tuple[str | None, Call]:
    from mixtransfer.deploy.formats import quiet
    from mixtransfer.deploy.pt2 import NotPlain, plain_archive

    try:
        with path.open("rb") as file:
            archive, text = plain_archive(file)
    except NotPlain as error:
        raise UserError(
            f"{path} holds more than tensors and operators ({error}): such a file is not opened."
        ) from error
    import torchvision  # noqa: F401 (its operators)

    with quiet():
        network = torch.export.load(archive).module()

    @torch.inference_mode()
    def call(images: np.ndarray) -> list[np.ndarray]:
        tensor = torch.from_numpy(images)
        if tensor.shape[1] == 3:
            tensor = tensor.contiguous(memory_format=torch.channels_last)
        outputs = network(tensor)
        return [output.numpy() for output in (outputs if isinstance(outputs, tuple) else (outputs,))]

    return text, call


def _open_executorch(path: Path, threads: int) -> tuple[str | None, Call]:
    from executorch.runtime import Runtime

    program = Runtime.get().load_program(path)
    names = program.method_names
    text = None
    if KEY in names:
        text = bytes(program.load_method(KEY).execute([])[0].numpy()).decode()
    forward = program.load_method("forward")

    def call(images: np.ndarray) -> list[np.ndarray]:
        return [output.numpy() for output in forward.execute([torch.from_numpy(images)])]

    return text, call
