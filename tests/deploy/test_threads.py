"""A model in a service is asked by many threads at once: each gets its own answer."""

import threading

import numpy as np
import pytest
import torch
from exporting import SUFFIXES, needs
from in_threads import in_threads, pictures

import mixtransfer as mt
from mixtransfer.backbones import create_backbone


@pytest.mark.parametrize("format", [None, *SUFFIXES])
def test_each_caller_of_a_classifier_gets_its_own_answer(format, classifier, exports):
    model = mt.load(exports(format) if format else classifier, "cpu")
    images = 4 * pictures(40)
    alone = np.stack([model.predict(image).probabilities for image in images])
    assert np.ptp(alone, axis=0).max() > 0.01  # another's answer would show
    together = np.stack([answer.probabilities for answer in in_threads(model.predict, images)])
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("format", [None, "onnx", "openvino"])
def test_each_caller_of_a_detector_gets_its_own_answer(format, detector, tmp_path):
    if format:
        needs(format)
        mt.export(detector, format, output=tmp_path / f"model{SUFFIXES[format]}")
    model = mt.load(tmp_path / f"model{SUFFIXES[format]}" if format else detector, "cpu", threshold=0.0)
    images = 2 * pictures(20)
    alone = [model.predict(image) for image in images]
    for mine, found in zip(alone, in_threads(model.predict, images), strict=True):
        np.testing.assert_allclose(found.scores, mine.scores, atol=1e-5)
        np.testing.assert_allclose(found.boxes, mine.boxes, atol=1e-2)


def test_a_model_may_be_loaded_while_others_answer(classifier):
    """Loading folds batch norms, for which it follows the network's code: of no other network's calls."""
    other = create_backbone("mobilenetv3_small_050", weights="none", num_classes=3).eval()
    images, over, calls = torch.zeros(1, 3, 32, 32), threading.Event(), []

    def answer() -> None:
        with torch.inference_mode():
            while not over.is_set():
                calls.append(other(images))

    def load() -> None:
        try:
            for _ in range(8):
                mt.load(classifier, "cpu")
        finally:
            over.set()

    for done in in_threads(lambda task: task(), [load, answer, answer]):
        assert done is None
    assert calls
