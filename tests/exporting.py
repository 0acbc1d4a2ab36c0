"""Formats to export to, and what they need."""

import importlib.util

import pytest

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2", "executorch": ".pte", "litert": ".tflite"}
PACKAGES = {
    "onnx": "onnxruntime",
    "openvino": "openvino",
    "torch": "torch",
    "executorch": "executorch",
    "litert": "litert_torch",
}


def needs(format: str) -> None:
    if importlib.util.find_spec(PACKAGES[format]) is None:
        pytest.skip(f"{PACKAGES[format]} is not installed")
