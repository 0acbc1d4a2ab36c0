"""Ways to run a trained classifier: PyTorch as it is, and whatever else is installed."""

import importlib.util
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from mixtransfer.backbones.fuse import for_inference
from mixtransfer.data.preprocessing import Preprocessing
from mixtransfer.deploy.exported import compile_openvino, onnx_session
from mixtransfer.deploy.formats import FORMATS, onnx_model, openvino_model
from mixtransfer.deploy.network import ExportClassifier

NAMES = {"pytorch": "PyTorch", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}

Call = Callable[[torch.Tensor], object]


def installed_runtimes() -> list[str]:
    """The keys of ``NAMES`` that can be used here, "pytorch" first."""
    needs = {"pytorch": (), "onnxruntime": FORMATS["onnx"].packages, "openvino": FORMATS["openvino"].packages}
    return [name for name in NAMES if all(importlib.util.find_spec(module) for module in needs[name])]


def prepare(runtime: str, model: nn.Module, size: int, batches: Sequence[int]) -> dict[int, Call]:
    """A function for each batch size that takes images (batch, 3, size, size), float32, and computes logits.

    PyTorch runs as ``classify predict`` does: eager, channels last, fused. The others run what `export`
    writes for them, compiled for each batch size, on the CPU, with as many threads as PyTorch has.

    Args:
        runtime: Of ``installed_runtimes``.
        model: A classifier in evaluation mode; it is left as it is.
    """
    makers = {"pytorch": _pytorch, "onnxruntime": _onnxruntime, "openvino": _openvino}
    return makers[runtime](model, size, batches)


def _pytorch(model: nn.Module, size: int, batches: Sequence[int]) -> dict[int, Call]:
    model = for_inference(model, "cpu")

    def call(images: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return model(images.contiguous(memory_format=torch.channels_last))

    return dict.fromkeys(batches, call)


def _onnxruntime(model: nn.Module, size: int, batches: Sequence[int]) -> dict[int, Call]:
    content = onnx_model(_network("onnx", model, size)).SerializeToString()
    sessions = {batch: onnx_session(content, torch.get_num_threads(), batch) for batch in batches}
    return {batch: partial(_run_session, session) for batch, session in sessions.items()}


def _run_session(session: Any, images: torch.Tensor) -> np.ndarray:
    return session.run(None, {"images": images.numpy()})[0]


def _openvino(model: nn.Module, size: int, batches: Sequence[int]) -> dict[int, Call]:
    converted = openvino_model(_network("openvino", model, size))
    compiled = {batch: compile_openvino(converted, batch, torch.get_num_threads()) for batch in batches}
    return {batch: partial(_run_compiled, call) for batch, call in compiled.items()}


def _run_compiled(compiled: Any, images: torch.Tensor) -> np.ndarray:
    return compiled(images.numpy())[0]


def _network(format: str, model: nn.Module, size: int) -> ExportClassifier:
    return ExportClassifier(model, Preprocessing(size), False, FORMATS[format].rule).eval()
