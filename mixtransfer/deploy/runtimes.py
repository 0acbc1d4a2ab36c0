"""Ways to run a trained classifier: PyTorch as it is, and whatever else is installed."""

import copy
import importlib.util
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path

import torch
from torch import nn

from mixtransfer.backbones.folding import fold_batch_norm

NAMES = {"pytorch": "PyTorch", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}

Call = Callable[[torch.Tensor], object]


def installed_runtimes() -> list[str]:
    """The keys of ``NAMES`` that can be used here, "pytorch" first."""
    needs = {"pytorch": ["torch"], "onnxruntime": ["onnx", "onnxscript", "onnxruntime"], "openvino": ["openvino"]}
    return [name for name in NAMES if all(importlib.util.find_spec(module) for module in needs[name])]


def prepare(runtime: str, model: nn.Module, size: int, batches: Sequence[int]) -> dict[int, Call]:
    """A function for each batch size that takes images (batch, 3, size, size), float32, and computes logits.

    PyTorch runs as ``classify predict`` does: eager, channels last, batch norm folded. The others compile the network
    for each batch size and run on the CPU, with as many threads as PyTorch has.

    Args:
        runtime: Of ``installed_runtimes``.
        model: A classifier in evaluation mode; it is left as it is.
    """
    makers = {"pytorch": _pytorch, "onnxruntime": _onnxruntime, "openvino": _openvino}
    return makers[runtime](copy.deepcopy(model), size, batches)


def _pytorch(model: nn.Module, size: int, batches: Sequence[int]) -> dict[int, Call]:
    fold_batch_norm(model)
    model.to(memory_format=torch.channels_last)

    def call(images: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return model(images.contiguous(memory_format=torch.channels_last))

    return dict.fromkeys(batches, call)


def _onnxruntime(model: nn.Module, size: int, batches: Sequence[int]) -> dict[int, Call]:
    import onnxruntime

    calls = {}
    with tempfile.TemporaryDirectory() as folder, _quiet():
        file = Path(folder) / "model.onnx"
        images, dynamic = torch.zeros(2, 3, size, size), ({0: torch.export.Dim("batch")},)
        names = {"input_names": ["images"], "output_names": ["logits"]}
        torch.onnx.export(model, (images,), file, dynamo=True, dynamic_shapes=dynamic, verbose=False, **names)
        for batch in batches:
            settings = onnxruntime.SessionOptions()
            settings.intra_op_num_threads = torch.get_num_threads()
            settings.log_severity_level = 3
            settings.add_free_dimension_override_by_name("batch", batch)
            session = onnxruntime.InferenceSession(file, settings, providers=["CPUExecutionProvider"])
            calls[batch] = lambda images, session=session: session.run(None, {"images": images.numpy()})[0]
    return calls


def _openvino(model: nn.Module, size: int, batches: Sequence[int]) -> dict[int, Call]:
    import openvino

    with _quiet():
        converted = openvino.convert_model(model, example_input=torch.zeros(1, 3, size, size))
    settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32"}
    calls = {}
    for batch in batches:
        converted.reshape([batch, 3, size, size])
        compiled = openvino.Core().compile_model(converted, "CPU", settings)
        calls[batch] = lambda images, compiled=compiled: compiled(images.numpy())[0]
    return calls


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' messages to developers."""
    with warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        yield
