"""LiteRT, once TensorFlow Lite: for Android, with the kernels of XNNPACK."""

import importlib.util
import json
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mixtransfer.deploy.metadata import KEY, Metadata
from mixtransfer.deploy.network import ExportNetwork, Rule
from mixtransfer.deploy.runtimes.base import FileRuntime, Opened, Target, image_by_image, need_raw, one_at_a_time, quiet
from mixtransfer.errors import UserError

# They ask for torch before 2.15 and typing_extensions before 4.13, beside which others cannot be installed; converting
# needs neither, and every file is compared with PyTorch.
PACKAGES = ("litert-torch==0.10.0", "litert-converter==0.5.0", "ai-edge-quantizer==0.10.0")
INSTALL = f"pip install 'mixtransfer[litert]' and then pip install --no-deps {' '.join(PACKAGES)}"
DESCRIPTION = f"{KEY}.json"  # in a zip archive behind the model, as TensorFlow Lite's metadata has its files


class LiteRT(FileRuntime):
    """Files of ``litert_torch``, for one image: resized to several they would answer for the first alone."""

    name = "litert"
    label = "LiteRT"
    format = "litert"
    suffixes = (".tflite",)
    modules = ("ai_edge_litert",)
    writers = ("litert_torch", "ai_edge_quantizer")
    extra = "phone"
    precisions = ("fp32", "fp16")

    def rule(self, target: Target) -> Rule:
        # MixNet-S at 224 pixels, one image, one thread, AVX2 (2026-11-27): 19.1 ms plain, 18.3 with 1×1 convolutions
        # grouped, 29.5 merged too: XNNPACK has fast kernels for small depthwise convolutions only.
        return Rule(False)

    def require_writers(self) -> None:
        self.require(f"The format {self.format}")
        if any(importlib.util.find_spec(module) is None for module in self.writers):
            raise UserError(f"The format {self.format} needs the package litert_torch: {INSTALL}.")

    def write(self, network: ExportNetwork, metadata: Metadata, path: Path, half: bool = False) -> None:
        need_raw(self, network)
        with quiet():
            import litert_torch

            model = litert_torch.convert(_Named(network).eval(), sample_kwargs={"images": network.example(1)})
            content = model.model_content()
            path.write_bytes(_half(content) if half else content)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(DESCRIPTION, metadata.to_json())
            archive.writestr("labels.txt", "\n".join(metadata.classes))

    def open(self, path: Path, threads: int, device: str = "cpu") -> Opened:
        from ai_edge_litert.interpreter import Interpreter
        from ai_edge_litert.schema_py_generated import Model

        content = path.read_bytes()
        if Model.GetRootAs(content).ExternalBufferGroupsLength():
            raise UserError(f"{path} keeps tensors in other files: such a file is not opened.")
        interpreter = Interpreter(model_content=content, num_threads=threads)
        interpreter.allocate_tensors()
        (entry,) = interpreter.get_input_details()
        # By name: which order they have in the graph is the converter's choice.
        description = _description(path)
        named = interpreter.get_signature_runner().get_output_details()
        outputs = [named[name]["index"] for name in json.loads(description or '{"outputs": []}')["outputs"]]

        def call(image: np.ndarray) -> list[np.ndarray]:
            interpreter.set_tensor(entry["index"], image)
            interpreter.invoke()
            return [interpreter.get_tensor(index) for index in outputs]

        return Opened(description, one_at_a_time(image_by_image(call)))


class _Named(nn.Module):
    """A network whose outputs have names, which the file's signature then has."""

    def __init__(self, network: ExportNetwork):
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        found = self.network(images)
        return dict(zip(self.network.outputs, found if isinstance(found, tuple) else (found,), strict=True))


def _half(content: bytes) -> bytes:
    """A model with its weights in float16; what is computed stays float32."""
    from ai_edge_quantizer import algorithm_manager, qtyping, quantizer

    made = quantizer.Quantizer(bytearray(content))
    made.add_weight_only_config(
        ".*",
        qtyping.TFLOperationName.ALL_SUPPORTED,
        num_bits=16,
        granularity=qtyping.QuantGranularity.TENSORWISE,
        algorithm_key=algorithm_manager.AlgorithmName.FLOAT_CASTING,
    )
    return bytes(made.quantize().quantized_model)


def _description(path: Path) -> str | None:
    """What is kept behind the model, or None."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        info = archive.NameToInfo.get(DESCRIPTION)
        if info is None or info.compress_type != zipfile.ZIP_STORED:  # as we write it, so no larger than the file
            return None
        return archive.read(info).decode()
