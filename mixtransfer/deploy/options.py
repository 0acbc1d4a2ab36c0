"""The options of the verbs of deployment."""

from dataclasses import dataclass
from typing import Literal


@dataclass
class ExportOptions:
    """Write a run's model for other programs: fused, checked against PyTorch on images, with its description inside.

    The file has the classes, the normalization and the input size in it, takes any number of images at a time (of
    litert and coreml one), and `classify predict` and `detect predict` take it like a run. Beside it stand labels.txt
    and, of onnx, openvino and litert, predict.py, a script that uses it without mixtransfer.

    Args:
        run: The run.
        format: onnx (ONNX Runtime and most others), openvino (Intel and AMD processors), torch (torch.export),
            executorch (phones; needs the package executorch), litert (Android, .tflite), coreml (Apple, .mlpackage;
            compared with PyTorch on a Mac alone), or web (a folder for any static file server, with a page that runs
            the model in the browser and sends no image anywhere; --preprocess and --softmax are inside). Phones' take
            a detector with --raw.
        target: The processor that it is for, which decides how MixConv is fused; auto: such as this machine has.
        output: The file, of web the folder; by default model with the format's suffix, or web, in the run's folder.
        preprocess: Take images as they decode, uint8 (n, height, width, 3), and normalise them in the graph (coreml:
            RGB pictures, as Vision gives them); by default it takes normalised float32 (n, 3, height, width).
        raw: Of a detector, leave decoding and non-maximum suppression out: class logits, box deltas and anchors.
        nms: Of a detector, overlap (IoU) from which on the worse of two is dropped; by default as in training.
        class_agnostic: Drop it whatever the classes of the two are; by default as in training.
        min_score: Smallest score that a detector gives; by default as in training.
        max_detections: Detections an image has at most; by default as in training.
        classes: Of a detector, names of the classes to find, with commas between; by default all.
        known: Of a classifier, a second output: how known each image looks, from 0 to 1; below 0.05 it is to be called
            unknown (of web anyway).
        softmax: Of a classifier, give probabilities instead of logits (coreml: by class name, as Vision wants them).
        precision: fp32; fp16: weights in half the bytes (onnx, openvino, litert, coreml and web); int8: see --int8.
        int8: Quantize to 8-bit integers by post-training quantization, calibrated on training images of the run's data
            (onnx, openvino and web).
        int8_limit: Points of accuracy, or average precision, on the validation images that int8 may cost; if it costs
            more, nothing is written.
        opset: Of ONNX; by default that of PyTorch's exporter.
        images: A file, folder or glob pattern of images to check on; by default those of the run's test part.
        check: How many images to check on.
        json: Print the outcome as JSON.
    """

    run: str
    format: Literal["onnx", "openvino", "torch", "executorch", "litert", "coreml", "web"] = "onnx"
    target: Literal["auto", "avx2", "avx512", "arm", "gpu"] = "auto"
    output: str | None = None
    preprocess: bool = False
    raw: bool = False
    nms: float | None = None
    class_agnostic: bool | None = None
    min_score: float | None = None
    max_detections: int | None = None
    classes: str | None = None
    known: bool = False
    softmax: bool = False
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    int8: bool = False
    int8_limit: float = 1.0
    opset: int | None = None
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
        seconds: Measure each for about so long instead; the 99th percentile takes 1,000 calls.
        output: The folder to write; by default one under runs/ named after the model.
        json: Print benchmark.json instead of the table.
    """

    model: str
    batches: str = "1,16"
    threads: str | None = None
    rounds: int = 30
    seconds: float | None = None
    output: str | None = None
    json: bool = False


@dataclass
class PushOptions:
    """Publish a run's model on the Hugging Face hub, with a model card.

    The weights, their description and the scores are published; no images, no paths, nothing pickled. The token is that
    of `hf auth login`, or of HF_TOKEN.

    Args:
        run: The run.
        name: The repository, as USER/NAME; it is made if it does not exist.
        private: Make it visible to its owner alone.
        license: Of the model, such as apache-2.0; by default that of the weights that it started from.
        data_license: Of the images that it was trained on, in words.
        intended_use: What it is for, and what it is not, in words.
        output: Write the files to this folder instead, and publish nothing.
    """

    run: str
    name: str
    private: bool = False
    license: str | None = None
    data_license: str | None = None
    intended_use: str | None = None
    output: str | None = None
