"""How fast exports are, side by side in one process, against what the project set out to reach.

    python tools/bench_inference.py --only classify,int8,detect

Weights are random, for they do not matter to speed; what int8 does to accuracy is said by `mixtransfer export --int8`.
All contenders are measured in turns, with as many threads as PyTorch takes; a ratio is that of the medians. "timm" is
timm's network as it comes: in eager PyTorch in NCHW, or exported without any change. Prints a table and, last, JSON.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import openvino
import timm
import torch
from torch import nn

from mixtransfer.backbones import create_backbone
from mixtransfer.common.machine import machine, package_versions
from mixtransfer.common.process import keep_freed_memory
from mixtransfer.data.preprocessing import Preprocessing
from mixtransfer.deploy.exported import Exported, open_exported
from mixtransfer.deploy.latency import measure
from mixtransfer.deploy.metadata import Metadata
from mixtransfer.deploy.network import ExportClassifier, ExportDetector, ExportNetwork
from mixtransfer.deploy.quantize import RULE, quantize_file
from mixtransfer.deploy.runtimes import FILE_RUNTIMES, RUNTIMES
from mixtransfer.deploy.runtimes.base import this_target
from mixtransfer.deploy.runtimes.openvino import compile_openvino
from mixtransfer.deploy.source import Source

SIZE, DETECTOR_SIZE = 224, 320
FORMATS = ("onnx", "openvino")
LIGHTER = {"mixnet_s.hswish": 1.15}  # and how much faster than mixnet_s it was hoped to be

Calls = dict[str, Callable[[], object]]


@torch.no_grad()
def settle(model: nn.Module, size: int) -> nn.Module:
    """Give batch norms statistics of random images, so that activations have ranges as in a trained network."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    model.train()(torch.randn(4, 3, size, size))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model.eval()


def export(
    network: ExportNetwork,
    preprocessing: Preprocessing,
    format: str,
    path: Path,
    classes: int = 1000,
    details: dict | None = None,
) -> Exported:
    """What `mixtransfer export` writes of a network, opened."""
    task = "detection" if isinstance(network, ExportDetector) else "classification"
    inside, names = network.normalize is not None, [str(i) for i in range(classes)]
    metadata = Metadata(task, "", names, preprocessing, inside, list(network.outputs), details or {})
    FILE_RUNTIMES[format].write(network, metadata, path)
    return open_exported(path)


def classifier_calls(folder: Path, int8: bool) -> Calls:
    """MixNet-S, also with hard-swish, and ResNet-50 in every runtime; plain and ours; of one image, or of 16."""
    calls: Calls = {}
    images = {batch: torch.randn(batch, 3, SIZE, SIZE) for batch in (1, 16)}
    arrays = {batch: tensor.numpy() for batch, tensor in images.items()}
    for name in ("mixnet_s", *LIGHTER, "resnet50"):
        model = settle(create_backbone(name, weights="none"), SIZE)
        preprocessing = Preprocessing(SIZE)
        if name == "mixnet_s":
            plain = timm.create_model(name).eval()
            plain.load_state_dict(model.state_dict())
            calls["mixnet_s timm eager"] = partial(torch.inference_mode()(plain), images[1])
            file = folder / "plain.onnx"
            plain_export(plain, file)
            opened = FILE_RUNTIMES["onnx"].open(file, torch.get_num_threads())
            calls["mixnet_s timm onnx"] = partial(opened.call, arrays[1])
            calls["mixnet_s timm onnx 16"] = partial(opened.call, arrays[16])
            converted = openvino.convert_model(plain, example_input=images[1])
            calls["mixnet_s timm openvino"] = partial(
                compile_openvino(converted, 1, torch.get_num_threads()), arrays[1]
            )
        source = Source(None, "classification", name, model, preprocessing, ["class"])
        eager = RUNTIMES["pytorch"].prepare(source, torch.get_num_threads(), folder)
        calls[f"{name} ours pytorch"] = partial(eager, arrays[1])
        for format in FORMATS:
            rule, suffix = FILE_RUNTIMES[format].rule(this_target()), FILE_RUNTIMES[format].suffixes[0]
            path = folder / f"{name}{suffix}"
            exported = export(ExportClassifier(model, preprocessing, False, rule).eval(), preprocessing, format, path)
            calls[f"{name} ours {format}"] = partial(exported.run, arrays[1])
            if format == "onnx":
                calls[f"{name} ours onnx 16"] = partial(exported.run, arrays[16])
            if int8 and name != "resnet50":
                path = folder / f"{name}-int8{suffix}"
                export(ExportClassifier(model, preprocessing, False, RULE).eval(), preprocessing, format, path)
                quantize_file(path, list(torch.randn(8, 1, 3, SIZE, SIZE).numpy()))
                calls[f"{name} int8 {format}"] = partial(open_exported(path).run, arrays[1])
    return calls


def plain_export(model: nn.Module, path: Path) -> None:
    torch.onnx.export(
        model, (torch.randn(2, 3, SIZE, SIZE),), path,
        dynamo=True, dynamic_shapes=({0: torch.export.Dim("batch")},), verbose=False,
    )  # fmt: skip


def detector_calls(folder: Path) -> Calls:
    """SSDLite MixNet-S from an image of the right size to boxes: eager PyTorch, and exports with everything inside."""
    from mixtransfer.detection.model import build_detector

    detector = build_detector("mixnet_s", "none", 80).eval()
    settle(detector.backbone, DETECTOR_SIZE)
    image = np.random.default_rng(0).integers(0, 256, (DETECTOR_SIZE, DETECTOR_SIZE, 3), np.uint8)
    tensor = torch.from_numpy(image).permute(2, 0, 1).contiguous()
    calls: Calls = {"ssdlite eager": partial(torch.inference_mode()(detector), [{"image": tensor}])}
    mean, std = (tuple((buffer / 255).flatten().tolist()) for buffer in (detector.pixel_mean, detector.pixel_std))
    preprocessing = Preprocessing(DETECTOR_SIZE, 1.0, "bilinear", mean, std)
    details = {
        "category_ids": list(range(80)),
        "loss": "cross_entropy",
        "box_weights": list(detector.box_transform.weights),
        "nms_threshold": detector.nms_threshold,
        "limit": detector.detections_per_image,
    }
    for format in FORMATS:
        rule, suffix = FILE_RUNTIMES[format].rule(this_target()), FILE_RUNTIMES[format].suffixes[0]
        network = ExportDetector(detector, preprocessing, True, rule, raw=False).eval()
        exported = export(network, preprocessing, format, folder / f"ssdlite{suffix}", 80, details)
        calls[f"ssdlite ours {format}"] = partial(exported, image[None])
    return calls


def rows(ms: dict[str, float]) -> list[tuple[str, float, float]]:
    """What was to be reached: (words, target, reached)."""

    def best(start: str) -> float:
        return min(value for name, value in ms.items() if name.startswith(start) and not name.endswith("16"))

    def gain(name: str, format: str) -> float:
        return ms[f"mixnet_s ours {format}"] / ms[f"{name} ours {format}"]

    found = []
    if "mixnet_s timm eager" in ms:
        ours = best("mixnet_s ours")
        found += [
            ("MixNet-S, one image: best runtime against timm eager NCHW", 4.5, ms["mixnet_s timm eager"] / ours),
            ("the same against OpenVINO of timm's export", 1.1, ms["mixnet_s timm openvino"] / ours),
            ("ONNX Runtime of our export against timm's", 1.3, ms["mixnet_s timm onnx"] / ms["mixnet_s ours onnx"]),
            ("the same, 16 images", 1.5, ms["mixnet_s timm onnx 16"] / ms["mixnet_s ours onnx 16"]),
            ("MixNet-S against ResNet-50, each in its best runtime", 6.0, best("resnet50 ours") / ours),
        ]
        found += [
            (f"{name} against mixnet_s, {format}", target, gain(name, format))
            for name, target in LIGHTER.items()
            for format in FORMATS
        ]
    for name in ("mixnet_s", *LIGHTER):
        for format in FORMATS:
            if f"{name} int8 {format}" in ms:
                ratio = ms[f"{name} ours {format}"] / ms[f"{name} int8 {format}"]
                found.append((f"{name}: int8 against our float32, {format}", 1.4, ratio))
    if "ssdlite eager" in ms:
        ratio = ms["ssdlite eager"] / best("ssdlite ours")
        found.append(("SSDLite MixNet-S end to end: best runtime against eager PyTorch", 3.0, ratio))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="classify,int8,detect", help="parts, with commas between")
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    parts = options.only.split(",")
    torch.manual_seed(0)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as name:
        calls: Calls = {}
        if "classify" in parts or "int8" in parts:
            calls |= classifier_calls(Path(name), "int8" in parts)
        if "detect" in parts:
            calls |= detector_calls(Path(name))
        durations = measure(calls, options.rounds)
    ms = {name: 1000 * duration.median for name, duration in durations.items()}
    for words, target, reached in rows(ms):
        print(f"{words:68} target {target:.1f}  reached {reached:.2f}")
    print(
        json.dumps(
            {
                "threads": torch.get_num_threads(),
                **machine(),
                "versions": package_versions(["timm", "onnxruntime", "openvino", "nncf"]),
                "ms": {name: round(value, 2) for name, value in ms.items()},
                "ratios": {words: round(reached, 3) for words, _, reached in rows(ms)},
            }
        )
    )


if __name__ == "__main__":
    main()
