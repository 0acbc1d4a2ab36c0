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
        int8: Quantize to 8-bit integers by post-training quantization, calibrated on training images of the run's data
            (onnx and openvino).
        int8_limit: Points of accuracy, or average precision, on the validation images that int8 may cost; if it costs
            more, nothing is written.
        images: A file, folder or glob pattern of images to check on; by default those of the run's test part.
        check: How many images to check on.
        json: Print the outcome as JSON.
    """

    run: str
    format: Literal["onnx", "openvino", "torch", "executorch"] = "onnx"
    output: str | None = None
    preprocess: bool = False
    raw: bool = False
    int8: bool = False
    int8_limit: float = 1.0
    images: str | None = None
    check: int = 32
    json: bool = False


@dataclass
class BenchmarkOptions:
    """Measure how fast a model is on this machine: latency, throughput and memory by runtime, batch and threads.

    Everything is measured in turns. The table, a figure and a page that holds both are written to a folder.

    Args:
        model: A run, an exported file, or a backbone of `mixtransfer models` (with random weights).
        batches: Images at a time, with commas between.
        threads: Numbers of threads, with commas between; by default one, and as many as the machine has cores.
        rounds: Turns of each measurement.
        output: The folder to write; by default one under runs/ named after the model.
        json: Print benchmark.json instead of the table.
    """

    model: str
    batches: str = "1,16"
    threads: str | None = None
    rounds: int = 30
    output: str | None = None
    json: bool = False
