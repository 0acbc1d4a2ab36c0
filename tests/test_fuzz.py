"""A few inputs of tools/fuzz_readers.py for every reader."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


READERS = (
    "manifest",
    "COCO JSON",
    "config",
    "model.json",
    "backbone JSON",
    "YOLO data.yaml",
    "YOLO labels",
    "VOC XML",
    "Darknet",
    "labelImg",
    "Label Studio",
    "imagefolder",
    "weights",
    "checkpoint",
    "safetensors",
    ".pt2",
    ".onnx",
)


@pytest.fixture(scope="session")
def fuzzer():
    pytest.importorskip("hypothesis")
    sys.path.append(str(ROOT / "tools"))  # for the files that it imports
    spec = importlib.util.spec_from_file_location("fuzz_readers", ROOT / "tools" / "fuzz_readers.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", READERS)
def test_whatever_a_file_holds_the_answer_is_a_value_or_one_sentence(name, fuzzer, tmp_path):
    if name == ".onnx":
        pytest.importorskip("onnxruntime", reason="pip install 'mixtransfer[export]'")
    counts, examples = fuzzer.fuzz(fuzzer.READERS[name], 100, 0, tmp_path)
    assert not examples and counts["inputs"] >= 90 and counts["accepted"] < counts["inputs"]
