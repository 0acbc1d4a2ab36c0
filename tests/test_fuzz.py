"""A few inputs of tools/fuzz_readers.py for every reader."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def fuzzer():
    pytest.importorskip("hypothesis")
    spec = importlib.util.spec_from_file_location("fuzz_readers", ROOT / "tools" / "fuzz_readers.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["manifest", "COCO JSON", "config", "model.json"])
def test_whatever_a_file_holds_the_answer_is_a_value_or_one_sentence(name, fuzzer, tmp_path):
    counts, examples = fuzzer.fuzz(fuzzer.READERS[name], 100, 0, tmp_path)
    assert not examples and counts["inputs"] >= 90 and counts["accepted"] < counts["inputs"]
