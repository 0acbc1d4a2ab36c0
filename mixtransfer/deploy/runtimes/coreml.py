"""Core ML, for iPhones, iPads and Macs. Files are written anywhere, and run on a Mac."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from mixtransfer.deploy.metadata import KEY, Metadata
from mixtransfer.deploy.network import ExportNetwork, Rule
from mixtransfer.deploy.runtimes.base import (
    FileRuntime,
    Opened,
    Target,
    image_by_image,
    need_raw,
    one_at_a_time,
    quiet,
)
from mixtransfer.errors import UserError


class CoreML(FileRuntime):
    """ML programs for one image, since the Neural Engine takes no open batches; from iOS 15 and macOS 12 on.

    With the preprocessing inside, the input is a picture in RGB, as Vision gives it. With ``probabilities`` the model
    is a classifier in Core ML's sense: it answers with a class and with the probabilities by name.
    """

    name = "coreml"
    label = "Core ML"
    format = "coreml"
    suffixes = (".mlpackage",)
    is_folder = True
    modules = ("coremltools",)
    extra = "phone"
    precisions = ("fp32", "fp16")

    @property
    def runs_here(self) -> bool:
        return sys.platform == "darwin"

    def rule(self, target: Target) -> Rule:
        return Rule(True, "grouped")  # not measured

    def write(self, network: ExportNetwork, metadata: Metadata, path: Path, half: bool = False) -> None:
        need_raw(self, network)
        with quiet():
            import coremltools as ct

            shape, settings = (1, 3, network.size, network.size), {}
            if metadata.inside:
                settings["inputs"] = [ct.ImageType("images", shape, color_layout=ct.colorlayout.RGB)]
            if "probabilities" in network.outputs:
                settings["classifier_config"] = ct.ClassifierConfig(metadata.classes)
            else:
                settings["outputs"] = [ct.TensorType(name) for name in network.outputs]
            model = ct.convert(
                _program(_Planes(network).eval(), shape),
                convert_to="mlprogram",
                minimum_deployment_target=ct.target.iOS15,
                compute_precision=ct.precision.FLOAT16 if half else ct.precision.FLOAT32,
                skip_model_load=True,
                **settings,
            )
            model.user_defined_metadata[KEY] = metadata.to_json()
            model.save(str(path))
        for note in path.glob("executorch_*.json"):  # to developers of ExecuTorch
            note.unlink()

    def open(self, path: Path, threads: int, device: str = "cpu") -> Opened:
        if not self.runs_here:
            raise UserError(f"{path} runs on a Mac alone: Core ML is not for this system.")
        with quiet():
            import coremltools as ct

            model = ct.models.MLModel(str(path), compute_units=ct.ComputeUnit.CPU_ONLY)
        description = model.user_defined_metadata.get(KEY)
        return Opened(description, one_at_a_time(image_by_image(coreml_call(model, description or "{}"))))


def coreml_call(model: Any, description: str):
    """The outputs of an ``MLModel`` in the order of its description, for one image."""
    said = json.loads(description)

    def call(image: np.ndarray) -> list[np.ndarray]:
        found = model.predict({"images": Image.fromarray(image[0]) if said["inside"] else image})
        if said["outputs"] == ["probabilities"]:
            (shares,) = (value for value in found.values() if isinstance(value, dict))
            return [np.array([[shares[name] for name in said["classes"]]], np.float32)]
        return [np.asarray(found[name]) for name in said["outputs"]]

    return call


class _Planes(nn.Module):
    """A network whose images are (1, 3, size, size), pixels between 0 and 255 where it normalises."""

    def __init__(self, network: ExportNetwork):
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> Any:
        return self.network(images if self.network.normalize is None else images.permute(0, 2, 3, 1))


def _program(network: nn.Module, shape: tuple[int, ...]) -> torch.export.ExportedProgram:
    """What ``torch.export`` makes of a network, without the operator that coremltools does not know."""
    unknown = torch.ops.aten.addcmul.default
    rules = {unknown: torch.export.default_decompositions()[unknown]}
    return torch.export.export(network, (torch.zeros(shape),)).run_decompositions(rules)
