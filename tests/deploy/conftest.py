"""One small finished classifier and one detector, shared by the tests that only export them."""

from pathlib import Path

import pytest
import torch
from enlivening import enliven
from exporting import SUFFIXES, needs
from folders import make_folder

from mixtransfer.backbones import backbone_spec, create_backbone
from mixtransfer.classification.model import model_bytes
from mixtransfer.classification.options import TrainOptions
from mixtransfer.commandline.cli import main
from mixtransfer.common.files import write_atomic
from mixtransfer.data.load import load_dataset
from mixtransfer.data.preprocessing import Preprocessing
from mixtransfer.runs.model_card import ModelCard
from mixtransfer.runs.run import Run


@pytest.fixture(scope="session")
def animals(tmp_path_factory) -> Path:
    return make_folder(tmp_path_factory.mktemp("animals") / "animals", dict.fromkeys(("cat", "dog", "emu"), 10))


@pytest.fixture(scope="session")
def classifier(animals, tmp_path_factory) -> Path:
    """A run as training writes it, of a network that learnt nothing."""
    name = "mobilenetv3_small_050.mixconv35"
    run = Run.create(tmp_path_factory.mktemp("runs") / "classifier", TrainOptions(str(animals), name, image_size=32))
    load_dataset(str(animals)).split().write(run.split)
    torch.manual_seed(0)  # whatever was drawn before
    model = enliven(create_backbone(name, weights="none", num_classes=3))
    write_atomic(run.weights, model_bytes(model))
    preprocessing = Preprocessing.of(model, 32)
    ModelCard("classification", name, ["cat", "dog", "emu"], preprocessing.to_dict()).write(run.model)
    return run.folder


@pytest.fixture(scope="session")
def detector(tmp_path_factory) -> Path:
    """A run of a detector that learnt nothing, whose data is gone."""
    pytest.importorskip("detectron2", reason="detectron2 is not installed: mixtransfer install-detectron2")
    from mixtransfer.detection.model import build_detector, detector_card
    from mixtransfer.detection.options import TrainOptions
    from mixtransfer.detection.spec import DetectorSpec

    torch.manual_seed(67280421310721)  # whatever was drawn before: the tests need scores on both sides of thresholds
    name = "mobilenetv3_small_050"
    run = Run.create(tmp_path_factory.mktemp("runs") / "detector", TrainOptions("gone", name, image_size=96))
    model = enliven(build_detector(name, "none", 3))
    with torch.no_grad():
        for predictor in model.head.classes:
            predictor[-1].weight.mul_(30)  # scores that differ, some of them high
    write_atomic(run.weights, model_bytes(model))
    detector_card(backbone_spec(name), DetectorSpec(image_size=96), ["cat", "dog", "emu"], [1, 5, 7]).write(run.model)
    return run.folder


@pytest.fixture(scope="session")
def exports(classifier, tmp_path_factory):
    """Writes a format once; OpenVINO's with the preprocessing inside."""
    folder = tmp_path_factory.mktemp("exports")

    def export(format: str):
        needs(format)
        target = folder / f"model{SUFFIXES[format]}"
        if not target.exists():
            words = ["--preprocess"] if format == "openvino" else []
            assert main(["export", str(classifier), "--format", format, "--output", str(target), *words]) == 0
        return target

    return export
