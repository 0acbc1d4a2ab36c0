"""ExecuTorch, for phones and microcontrollers, with the kernels of XNNPACK."""

from pathlib import Path

import numpy as np
import torch

from mixtransfer.deploy.metadata import KEY, Metadata
from mixtransfer.deploy.network import ExportNetwork, Rule
from mixtransfer.deploy.runtimes.base import FileRuntime, Opened, Target, need_raw, one_at_a_time, quiet

MOST = 16  # images in a batch: its memory is planned for so many


class ExecuTorch(FileRuntime):
    name = "executorch"
    label = "ExecuTorch"
    format = "executorch"
    suffixes = (".pte",)
    modules = ("executorch",)
    extra = "executorch"

    def rule(self, target: Target) -> Rule:
        return Rule(True, "grouped")

    def write(self, network: ExportNetwork, metadata: Metadata, path: Path, half: bool = False) -> None:
        need_raw(self, network)
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        network.to(memory_format=torch.contiguous_format)  # detectors are in channels_last, which it does not take
        with quiet():
            dynamic = ({0: torch.export.Dim("batch", min=1, max=MOST)},)
            program = torch.export.export(network, (network.example(),), dynamic_shapes=dynamic)
            lowered = to_edge_transform_and_lower(
                program,
                partitioner=[XnnpackPartitioner()],
                constant_methods={KEY: torch.tensor(list(metadata.to_json().encode()), dtype=torch.uint8)},
            )
            path.write_bytes(lowered.to_executorch().buffer)

    def open(self, path: Path, threads: int, device: str = "cpu") -> Opened:
        from executorch.runtime import Runtime as Interpreter

        program = Interpreter.get().load_program(path)
        description = None
        if KEY in program.method_names:
            description = bytes(program.load_method(KEY).execute([])[0].numpy()).decode()
        forward = program.load_method("forward")

        def call(images: np.ndarray) -> list[np.ndarray]:
            return [output.numpy().copy() for output in forward.execute([torch.from_numpy(images)])]

        return Opened(description, one_at_a_time(call))
