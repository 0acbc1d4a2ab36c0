"""OpenVINO, for processors of Intel and AMD."""

import re
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from mixtransfer.deploy.metadata import KEY, Metadata
from mixtransfer.deploy.network import ExportNetwork, Rule
from mixtransfer.deploy.runtimes.base import FileRuntime, Opened, Target, one_at_a_time, quiet
from mixtransfer.deploy.runtimes.onnxruntime import onnx_model
from mixtransfer.errors import UserError

_HEAD = re.compile(rb"\s*(<\?xml[^>]*\?>)?\s*<net\s")


class OpenVino(FileRuntime):
    name = "openvino"
    label = "OpenVINO"
    format = "openvino"
    suffixes = (".xml", ".bin")
    writers = ("onnx", "onnxscript")
    modules = ("openvino",)
    precisions = ("fp32", "fp16", "int8")

    def rule(self, target: Target) -> Rule:
        # MixNet-S at 224 pixels, one image: AVX-512 (2026-11-25) 3.8 ms plain, 3.5 with groups left apart, 3.4 merged
        # with grouped 1×1 convolutions, 3.9 with dense ones; with AVX2 merging takes 1.15 times as long.
        return Rule(target != "avx2")

    def write(self, network: ExportNetwork, metadata: Metadata, path: Path, half: bool = False) -> None:
        import openvino

        model = openvino_model(network)
        model.set_rt_info(metadata.to_json(), [KEY])
        openvino.save_model(model, path, compress_to_fp16=half)

    def devices(self) -> list[str]:
        names = dict.fromkeys(name.partition(".")[0].lower() for name in openvino_core().available_devices)
        return ["cpu", *(name for name in names if name != "cpu")]

    def open(self, path: Path, threads: int, device: str = "cpu") -> Opened:
        """See ``Runtime``; the network is compiled for each batch size that comes.

        Compiled for one size it is faster than for any. A smaller batch is filled up to a size that is compiled
        already.
        """
        with path.open("rb") as file:
            if not _HEAD.match(file.read(200)):  # which OpenVINO would try as any other format that it knows
                raise UserError(f"{path} is no OpenVINO model, whatever its name says.")
        model = openvino_core().read_model(path)
        description = model.get_rt_info([KEY]).astype(str) if model.has_rt_info([KEY]) else None
        compiled: dict[int, Callable] = {}

        def call(images: np.ndarray) -> list[np.ndarray]:
            count = len(images)
            size = min((batch for batch in compiled if batch >= count), default=count)
            if size not in compiled:
                compiled[size] = compile_openvino(model, size, threads, device)
            if size > count:
                images = np.concatenate([images, np.zeros((size - count, *images.shape[1:]), images.dtype)])
            outputs = compiled[size](images)
            return [output[:count] if output.shape[:1] == (size,) else output for output in outputs]

        return Opened(description, one_at_a_time(call))


def openvino_model(network: ExportNetwork):
    """The network as an ``openvino.Model`` with the input ``images`` and a dynamic batch."""
    import openvino

    with quiet():
        return openvino.convert_model(BytesIO(onnx_model(network).SerializeToString()))


@cache
def openvino_core() -> Any:
    """The one ``openvino.Core`` of this process.

    Each one's CPU plugin sets the signal stack of its thread, and sets the former one again when it is collected. Of
    two that end in another order than the reverse of their beginning one sets a stack that is freed already, and the
    next signal (SIGCHLD, when a data-loading process ends) ends the process.
    """
    import openvino

    return openvino.Core()


def compile_openvino(model, batch: int, threads: int, device: str = "cpu") -> Callable[[np.ndarray], list[np.ndarray]]:
    """An ``openvino.Model`` compiled for one batch size, in full precision and for latency."""
    fixed = model.clone()
    fixed.reshape([batch, *fixed.input().partial_shape[1:]])
    settings: dict[str, object] = {"PERFORMANCE_HINT": "LATENCY"}
    if device == "cpu":
        settings |= {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino_core().compile_model(fixed, device.upper(), settings).create_infer_request()

    def call(images: np.ndarray) -> list[np.ndarray]:
        found = request.infer({0: images}, share_inputs=True)
        return [found[i] for i in range(len(found))]

    return call
