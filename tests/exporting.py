"""Formats to export to, and what they need."""

import importlib.util

import pytest

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2", "executorch": ".pte"}
PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino", "torch": "torch", "executorch": "executorch"}


def needs(format: str) -> None:
    if importlib.util.find_spec(PACKAGES[format]) is None:
        pytest.skip(f"{PACKAGES[format]} is not installed")
