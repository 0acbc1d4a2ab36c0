"""Programs of ``torch.export``, which PyTorch runs without the code that made them."""

from pathlib import Path

import numpy as np
import torch

from mixtransfer.deploy.metadata import KEY, Metadata
from mixtransfer.deploy.network import ExportNetwork, Rule
from mixtransfer.deploy.pt2 import NotPlain, plain_archive
from mixtransfer.deploy.runtimes.base import FileRuntime, Opened, Target, quiet
from mixtransfer.errors import UserError


class TorchExport(FileRuntime):
    name = "torch.export"
    label = "torch.export"
    format = "torch"
    suffixes = (".pt2",)
    in_torch = True

    def rule(self, target: Target) -> Rule:
        return Rule(False)

    def write(self, network: ExportNetwork, metadata: Metadata, path: Path, half: bool = False) -> None:
        with quiet():
            program = torch.export.export(
                network.to(memory_format=torch.channels_last),
                (network.example(),),
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
            torch.export.save(program, path, extra_files={f"{KEY}.json": metadata.to_json()})

    def open(self, path: Path, threads: int, device: str = "cpu") -> Opened:
        try:
            with path.open("rb") as file:
                archive, description = plain_archive(file)
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

        return Opened(description, call)
