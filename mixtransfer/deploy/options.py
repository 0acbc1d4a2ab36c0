"""The options of the verbs of deployment."""

from dataclasses import dataclass
from typing import Literal


@dataclass
class ExportOptions:
    """Write a run's model for other programs: fused, checked against PyTorch on images, with its description inside.

    The file has the classes, the normalization and the input size in it, takes any number of images at a time, and
    `classify predict` and `detect predict` take it like a run.

    Args:
        run: The run.
        format: onnx (ONNX Runtime and most others), openvino (Intel and AMD processors), torch (torch.export), or
            executorch (phones; needs the package executorch).
        output: The file; by default model with the format's suffix, in the run's folder.
        preprocess: Take images as they decode, uint8 (n, height, width, 3), and normalise them in the graph; by
            default it takes normalised float32 (n, 3, height, width).
        raw: Of a detector, leave decoding and non-maximum suppression out: class logits, box deltas and anchors.
        images: Files, folders or glob patterns to check the export on; by default images of the run's test part.
        check: How many images to check on.
        json: Print the outcome as JSON.
    """

    run: str
    format: Literal["onnx", "openvino", "torch", "executorch"] = "onnx"
    output: str | None = None
    preprocess: bool = False
    raw: bool = False
    images: str | None = None
    check: int = 32
    json: bool = False
