"""Core ML files: what they say of themselves, and, computed by other means, what they answer."""

import json
import sys

import numpy as np
import pytest
import torch

from mixtransfer.classification.model import open_classifier
from mixtransfer.commandline.cli import main
from mixtransfer.data.preprocessing import Normalize
from mixtransfer.deploy.metadata import Metadata
from mixtransfer.deploy.runtimes.coreml import coreml_call
from mixtransfer.detection.model import open_detector

coremltools = pytest.importorskip("coremltools", reason="pip install 'mixtransfer[phone]'")
VIEWS = np.random.default_rng(0).integers(256, size=(2, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def packages(classifier, tmp_path_factory):
    """Writes a classifier once for each choice of options."""
    folder = tmp_path_factory.mktemp("packages")

    def export(*words: str):
        target = folder / f"model{'_'.join(words)}.mlpackage"
        if not target.exists():
            assert main(["export", str(classifier), "--format", "coreml", "--output", str(target), *words]) == 0
        return target

    return export


def specification(package):
    return coremltools.models.MLModel(str(package), skip_model_load=True).get_spec()


def logits(classifier) -> torch.Tensor:
    trained = open_classifier(classifier)
    with torch.inference_mode():
        return trained.model(Normalize(trained.preprocessing)(torch.from_numpy(VIEWS).permute(0, 3, 1, 2)))


@pytest.mark.parametrize("words", [(), ("--precision", "fp16"), ("--preprocess", "--softmax")])
def test_the_operations_of_a_file_give_pytorchs_answers(words, packages, classifier):
    from mil import evaluate

    planes = torch.from_numpy(VIEWS).permute(0, 3, 1, 2)
    given = planes.float() if "--preprocess" in words else Normalize(open_classifier(classifier).preprocessing)(planes)
    expected = logits(classifier).softmax(1) if "--softmax" in words else logits(classifier)
    found = [evaluate(packages(*words), given[i : i + 1].contiguous().numpy())[0] for i in range(2)]
    exact = 2e-3 if "fp16" in words else 1e-5
    torch.testing.assert_close(torch.as_tensor(np.concatenate(found)), expected, atol=exact, rtol=exact)


def test_a_file_says_what_it_takes_and_gives(packages, classifier):
    said = specification(packages()).description
    (entry,), (output,) = said.input, said.output
    assert (entry.name, list(entry.type.multiArrayType.shape)) == ("images", [1, 3, 32, 32])
    assert (output.name, list(output.type.multiArrayType.shape)) == ("logits", [1, 3])
    metadata = Metadata.from_json(said.metadata.userDefined["mixtransfer"], packages())
    trained = open_classifier(classifier)
    assert (metadata.classes, metadata.preprocessing) == (trained.classes, trained.preprocessing)
    assert metadata.outputs == ["logits"] and not metadata.inside and "coremltools" in metadata.versions


def test_vision_gets_a_classifier_of_pictures(packages):
    said = specification(packages("--preprocess", "--softmax")).description
    (entry,) = said.input
    picture = entry.type.imageType
    assert (entry.name, picture.width, picture.height) == ("images", 32, 32)
    assert picture.colorSpace == picture.ColorSpace.Value("RGB")
    assert said.predictedFeatureName == "classLabel"
    shares = next(output for output in said.output if output.name == said.predictedProbabilitiesName)
    assert shares.type.WhichOneof("Type") == "dictionaryType"
    whole = specification(packages("--preprocess", "--softmax")).mlProgram.functions["main"]
    assert "emu" in str(whole)


def test_half_the_bytes_in_fp16(packages):
    def size(package):
        return (package / "Data" / "com.apple.CoreML" / "weights" / "weight.bin").stat().st_size

    half, whole = packages("--precision", "fp16"), packages()
    assert 0.49 < size(half) / size(whole) < 0.52
    float32 = coremltools.proto.FeatureTypes_pb2.ArrayFeatureType.FLOAT32
    for package in (half, whole):  # what goes in and comes out stays float32
        said = specification(package).description
        assert {one.type.multiArrayType.dataType for one in (*said.input, *said.output)} == {float32}
    record = json.loads(half.with_name(f"{half.name}.json").read_text())
    assert record["bytes"] == sum(file.stat().st_size for file in half.rglob("*") if file.is_file())


def test_a_detectors_network(detector, tmp_path, capsys):
    from mil import evaluate

    target = tmp_path / "model.mlpackage"
    words = ["export", str(detector), "--format", "coreml", "--output", str(target)]
    assert main(words) == 2
    assert "Core ML has no non-maximum suppression: export a detector for it with --raw" in capsys.readouterr().err
    assert not target.exists() and main([*words, "--raw"]) == 0
    model = open_detector(detector).model
    views = torch.from_numpy(np.random.default_rng(1).integers(256, size=(1, 3, 96, 96), dtype=np.uint8))
    images = model.preprocess([{"image": views[0]}]).tensor
    with torch.inference_mode():
        expected = model.predict(images)
    for one, other in zip(expected, evaluate(target, images.numpy()), strict=True):
        np.testing.assert_allclose(other, one.numpy(), atol=1e-3, rtol=1e-4)


@pytest.mark.skipif(sys.platform == "darwin", reason="here Core ML runs")
def test_elsewhere_than_on_a_mac_it_is_said_that_nothing_was_compared(classifier, tmp_path, capsys):
    target = tmp_path / "model.mlpackage"
    words = ["export", str(classifier), "--format", "coreml", "--output", str(target)]
    for _ in range(2):  # the second replaces the first
        assert main(words) == 0
        assert "Not compared with PyTorch: only a Mac runs model.mlpackage." in capsys.readouterr().out
    assert json.loads((tmp_path / "model.mlpackage.json").read_text())["parity"] is None
    names = {"labels.txt", "model.mlpackage", "model.mlpackage.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert {path.name for path in target.iterdir()} == {"Data", "Manifest.json"}
    assert main(["classify", "predict", str(target), "x.jpg"]) == 2
    assert "model.mlpackage runs on a Mac alone" in capsys.readouterr().err
    assert main(["benchmark", str(target)]) == 2
    assert "model.mlpackage runs on a Mac alone" in capsys.readouterr().err


def test_a_folder_of_others_is_not_replaced(classifier, tmp_path, capsys):
    (tmp_path / "mine.mlpackage").mkdir()
    (tmp_path / "mine.mlpackage" / "diary.txt").touch()
    words = ["export", str(classifier), "--format", "coreml", "--output", str(tmp_path / "mine.mlpackage")]
    assert main(words) == 2 and "is a folder" in capsys.readouterr().err
    assert (tmp_path / "mine.mlpackage" / "diary.txt").exists()


class Model:
    """Stands for an ``MLModel`` on a Mac: notes what it is given."""

    def __init__(self, **answers):
        self.answers = answers

    def predict(self, given):
        self.given = given["images"]
        return self.answers


def test_answers_come_in_the_order_of_the_description():
    model = Model(anchors=np.ones((5, 4)), logits=np.zeros((1, 5, 3)), deltas=np.ones((1, 5, 4)))
    said = {"inside": False, "outputs": ["logits", "deltas", "anchors"], "classes": ["a", "b"]}
    image = np.zeros((1, 3, 8, 8), np.float32)
    found = coreml_call(model, json.dumps(said))(image)
    assert [one.shape for one in found] == [(1, 5, 3), (1, 5, 4), (5, 4)] and model.given is image


def test_pictures_go_in_and_probabilities_come_by_name():
    model = Model(classLabel="b", classLabel_probs={"b": 0.75, "a": 0.25})
    said = {"inside": True, "outputs": ["probabilities"], "classes": ["a", "b"]}
    (found,) = coreml_call(model, json.dumps(said))(VIEWS[:1])
    assert found.tolist() == [[0.25, 0.75]] and (np.asarray(model.given) == VIEWS[0]).all()
