"""ONNX, and ONNX Runtime, which runs it nearly everywhere."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mixtransfer.deploy.metadata import KEY, Metadata
from mixtransfer.deploy.network import ExportNetwork, Rule
from mixtransfer.deploy.runtimes.base import FileRuntime, Opened, Target, quiet
from mixtransfer.errors import UserError

# As --device calls them; what this installation of ONNX Runtime brings decides which there are.
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "rocm": "MIGraphXExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "qnn": "QNNExecutionProvider",
}
OPSETS = range(18, 24)  # that PyTorch's exporter can write


class OnnxRuntime(FileRuntime):
    name = "onnxruntime"
    label = "ONNX Runtime"
    format = "onnx"
    suffixes = (".onnx",)
    writers = ("onnx", "onnxscript")
    modules = ("onnxruntime",)
    precisions = ("fp32", "fp16", "int8")

    def __init__(self, opset: int | None = None):
        self.opset = opset

    def rule(self, target: Target) -> Rule:
        # MixNet-S at 224 pixels, one image: AVX-512 (2026-11-25) 5.8 ms plain, 4.7 with groups left apart, 3.8 merged
        # with grouped 1×1 convolutions, 3.6 with dense ones; AVX2 (facts of 2026-11-26) 13.3 grouped, 14.9 dense.
        return Rule(True, "dense" if target == "avx512" else "grouped")

    def write(self, network: ExportNetwork, metadata: Metadata, path: Path, half: bool = False) -> None:
        import onnx

        model = onnx_model(network, self.opset)
        if half:
            model = _half(model)
        model.producer_name = KEY
        onnx.helper.set_model_props(model, {KEY: metadata.to_json()})
        onnx.save(model, path)

    def devices(self) -> list[str]:
        import onnxruntime

        available = onnxruntime.get_available_providers()
        return [name for name, provider in PROVIDERS.items() if provider in available]

    def open(self, path: Path, threads: int, device: str = "cpu") -> Opened:
        import onnxruntime

        if tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 24):
            _refuse_references(path)
        session = onnx_session(path, threads, device)
        (entry,) = session.get_inputs()
        description = session.get_modelmeta().custom_metadata_map.get(KEY)

        def call(images: np.ndarray) -> list[np.ndarray]:
            return session.run(None, {entry.name: images})

        return Opened(description, call)


def onnx_model(network: ExportNetwork, opset: int | None = None):
    """The network as an ``onnx.ModelProto`` with the input ``images`` and a dynamic batch.

    Args:
        opset: Of ``OPSETS``; None: the exporter's own.
    """
    with quiet():
        program = torch.onnx.export(
            network,
            (network.example(),),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=["images"],
            output_names=list(network.outputs),
            opset_version=opset,
            verbose=False,
        )
    assert program
    model = program.model_proto
    _pool_by_name(model.graph)
    del model.graph.value_info[:]  # shapes of the exporter's own; runtimes infer them
    for node in model.graph.node:
        del node.metadata_props[:]  # lines of Python
    return model


def _pool_by_name(graph) -> None:
    """Averages over height and width as ``GlobalAveragePool``, which ONNX Runtime computes in its blocked layout."""
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    axes_of: set[str] = set()
    for node in graph.node:
        if node.op_type != "ReduceMean" or node.input[1:] and node.input[1] not in constants:
            continue
        keeps = all(a.i for a in node.attribute if a.name == "keepdims")
        axes = numpy_helper.to_array(constants[node.input[1]]).tolist() if node.input[1:] else []
        if keeps and axes in ([2, 3], [-2, -1], [-1, -2]):
            node.op_type = "GlobalAveragePool"
            axes_of.update(node.input[1:])
            del node.input[1:], node.attribute[:]
    axes_of -= {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name in axes_of]:
        graph.initializer.remove(tensor)  # ONNX Runtime would warn of it


def _half(model):
    """The model with weights and arithmetic in float16.

    What goes in and comes out stays float32, and so does what is computed of features for ``known`` alone: differences
    of squares, for which 16 bits are too few.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with quiet():
        first, *others = (_needed(model.graph, output.name) for output in model.graph.output)
        alone = others[0] - first if [output.name for output in model.graph.output][1:] == ["known"] else set()
        # The converter knows nodes by names, which the exporter gives to all of them.
        return convert_float_to_float16(model, keep_io_types=True, node_block_list=sorted(alone))


def _needed(graph, output: str) -> set[str]:
    """Names of the nodes that an output is computed by."""
    values, names = {output}, set()
    for node in reversed(graph.node):
        if values.intersection(node.output):
            values.update(node.input)
            names.add(node.name)
    return names


def onnx_session(model: Path | bytes, threads: int, device: str = "cpu", batch: int | None = None):
    """An ``onnxruntime.InferenceSession`` on a device, for one batch size or for any.

    Its threads wait busily for work within a run only: between runs they would slow down all else on the machine.
    """
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.log_severity_level = 4  # what it would print it also raises
    settings.add_session_config_entry("session.force_spinning_stop", "1")
    if batch:
        settings.add_free_dimension_override_by_name("batch", batch)
    providers = list(dict.fromkeys((PROVIDERS[device], PROVIDERS["cpu"])))
    return onnxruntime.InferenceSession(model, settings, providers=providers)


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
