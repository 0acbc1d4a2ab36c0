"""Exported files against PyTorch, as users write and use them."""

import numpy as np
import pytest
import torch

from mixtransfer.classification.model import open_classifier
from mixtransfer.cli import main
from mixtransfer.data.preprocessing import Normalize
from mixtransfer.deploy.exported import open_exported

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}


@pytest.fixture(scope="session")
def exports(classifier, tmp_path_factory):
    pytest.importorskip("onnxscript", reason="pip install 'mixtransfer[export]'")
    pytest.importorskip("openvino", reason="pip install 'mixtransfer[export]'")
    folder = tmp_path_factory.mktemp("exports")
    for name, suffix in SUFFIXES.items():
        words = ["--preprocess"] if name == "openvino" else []
        assert (
            main(["export", str(classifier), "--format", name, "--output", str(folder / f"model{suffix}"), *words]) == 0
        )
    return folder


@pytest.mark.parametrize("format", SUFFIXES)
def test_same_logits_for_any_number_of_images(format, exports, classifier):
    trained = open_classifier(classifier)
    exported = open_exported(exports / f"model{SUFFIXES[format]}")
    assert exported.format == format
    assert exported.classes == trained.classes
    assert exported.preprocessing == trained.preprocessing
    for count in (3, 1, 2):
        views = np.random.default_rng(count).integers(256, size=(count, 32, 32, 3), dtype=np.uint8)
        images = torch.from_numpy(views).permute(0, 3, 1, 2)
        with torch.inference_mode():
            expected = trained.model(Normalize(trained.preprocessing)(images))
        torch.testing.assert_close(torch.as_tensor(exported(views)["logits"]), expected, atol=1e-4, rtol=1e-4)
