"""Writing a network in each format, with its metadata inside."""

import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path

import torch
from torch import nn

from mixtransfer.deploy.metadata import KEY, Metadata
from mixtransfer.deploy.network import ExportNetwork, Rule
from mixtransfer.errors import UserError


def onnx_model(network: ExportNetwork):
    """The network as an ``onnx.ModelProto`` with the input ``images`` and a dynamic batch."""
    with quiet():
        program = torch.onnx.export(
            network,
            (network.example(),),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=["images"],
            output_names=list(network.outputs),
            verbose=False,
        )
    assert program
    model = program.model_proto
    _pool_by_name(model.graph)
    del model.graph.value_info[:]  # shapes of the exporter's own; runtimes infer them
    for node in model.graph.node:
        del node.metadata_props[:]  # lines of Python
    return model


def openvino_model(network: ExportNetwork):
    """The network as an ``openvino.Model`` with the input ``images`` and a dynamic batch."""
    import openvino

    with quiet():
        return openvino.convert_model(BytesIO(onnx_model(network).SerializeToString()))


def _pool_by_name(graph) -> None:
    """Averages over height and width as ``GlobalAveragePool``, which ONNX Runtime computes in its blocked layout."""
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "ReduceMean" or node.input[1:] and node.input[1] not in constants:
            continue
        keeps = all(a.i for a in node.attribute if a.name == "keepdims")
        axes = numpy_helper.to_array(constants[node.input[1]]).tolist() if node.input[1:] else []
        if keeps and axes in ([2, 3], [-2, -1], [-1, -2]):
            node.op_type = "GlobalAveragePool"
            del node.input[1:], node.attribute[:]


def _write_onnx(network: ExportNetwork, metadata: Metadata, path: Path) -> None:
    import onnx

    model = onnx_model(network)
    model.producer_name = KEY
    onnx.helper.set_model_props(model, {KEY: metadata.to_json()})
    onnx.save(model, path)


def _write_openvino(network: ExportNetwork, metadata: Metadata, path: Path) -> None:
    import openvino

    model = openvino_model(network)
    model.set_rt_info(metadata.to_json(), [KEY])
    openvino.save_model(model, path, compress_to_fp16=False)


def _write_torch(network: ExportNetwork, metadata: Metadata, path: Path) -> None:
    with quiet():
        program = torch.export.export(
            network.to(memory_format=torch.channels_last),
            (network.example(),),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
        torch.export.save(program, path, extra_files={f"{KEY}.json": metadata.to_json()})


def _write_executorch(network: ExportNetwork, metadata: Metadata, path: Path) -> None:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    if "labels" in network.outputs:
        raise UserError("ExecuTorch has no non-maximum suppression: export a detector for it with --raw.")
    with quiet():
        dynamic = ({0: torch.export.Dim("batch", min=1, max=MOST_EXECUTORCH)},)
        program = torch.export.export(network, (network.example(),), dynamic_shapes=dynamic)
        lowered = to_edge_transform_and_lower(
            program,
            partitioner=[XnnpackPartitioner()],
            constant_methods={KEY: torch.tensor(list(metadata.to_json().encode()), dtype=torch.uint8)},
        )
        path.write_bytes(lowered.to_executorch().buffer)


MOST_EXECUTORCH = 16  # images in a batch: its memory is planned for so many


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        suffixes: Of its files, the one to open first.
        packages: What must be installed to write and check it.
        install: How to get them.
        rule: How the network is fused for the runtime that reads it.
        write: Writes the file, and its companions beside it.
    """

    suffixes: tuple[str, ...]
    packages: tuple[str, ...]
    install: str
    rule: Rule
    write: Callable[[ExportNetwork, Metadata, Path], None]

    def require(self, name: str) -> None:
        """
        Raises:
            UserError: A package is missing; the message says how to install it.
        """
        for package in self.packages:
            if importlib.util.find_spec(package) is None:
                raise UserError(f"The format {name} needs the package {package}: {self.install}.")


def _merged_in_openvino(layer: nn.Module) -> bool:
    """With AVX-512 merging is faster, with AVX2 slower; the file is best where it is written."""
    return torch.backends.cpu.get_cpu_capability() == "AVX512"


# MixNet-S at 224 pixels, 2 cores of an AMD EPYC with AVX-512, 2026-11-25, ms at batch 1 and 16, medians: ONNX Runtime
# 5.8 and 122 plain, 4.7 and 78 with groups left apart, 3.8 and 69 merged with grouped 1×1 convolutions, 3.6 and 62 with
# dense ones; OpenVINO 3.8 and 57 plain, 3.5 and 62 apart, 3.4 and 50 merged with grouped ones, 3.9 and 54 with dense
# ones. With AVX2 merging made OpenVINO 1.15 times slower.
_EXTRA = "pip install 'mixtransfer[export]'"
FORMATS = {
    "onnx": Format((".onnx",), ("onnx", "onnxscript", "onnxruntime"), _EXTRA, Rule(True, "dense"), _write_onnx),
    "openvino": Format(
        (".xml", ".bin"), ("openvino", "onnx", "onnxscript"), _EXTRA, Rule(_merged_in_openvino), _write_openvino
    ),
    "torch": Format((".pt2",), (), "", Rule(False), _write_torch),
    "executorch": Format(
        (".pte",), ("executorch",), "pip install 'mixtransfer[executorch]'", Rule(True, "grouped"), _write_executorch
    ),
}


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporters' messages to developers."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
