"""Exported files against PyTorch, as users write and use them."""

import importlib.util
import json
import pickle
import shutil
import zipfile

import numpy as np
import pytest
import torch
from exporting import SUFFIXES

from mixtransfer.backbones.fuse import fuse
from mixtransfer.classification.model import open_classifier
from mixtransfer.cli import main
from mixtransfer.data.preprocessing import Normalize
from mixtransfer.deploy.exported import open_exported
from mixtransfer.deploy.network import ExportClassifier
from mixtransfer.errors import UserError


@pytest.mark.parametrize("format", SUFFIXES)
def test_same_logits_for_any_number_of_images(format, exports, classifier):
    trained = open_classifier(classifier)
    exported = open_exported(exports(format))
    assert exported.format == format
    assert exported.classes == trained.classes
    assert exported.preprocessing == trained.preprocessing
    for count in (3, 1, 2):
        views = np.random.default_rng(count).integers(256, size=(count, 32, 32, 3), dtype=np.uint8)
        images = torch.from_numpy(views).permute(0, 3, 1, 2)
        with torch.inference_mode():
            expected = trained.model(Normalize(trained.preprocessing)(images))
        torch.testing.assert_close(torch.as_tensor(exported(views)["logits"]), expected, atol=1e-4, rtol=1e-4)


def test_comparison_with_pytorch_is_kept(exports):
    target = exports("onnx")
    parity = json.loads(target.with_name("model.onnx.json").read_text())["parity"]
    assert parity["images"] == 6 and "run's data" in parity["source"]  # the test part
    assert parity["difference"] < parity["tolerance"] and parity["changed"] == 0


def test_onnx_has_nothing_left_to_fuse(exports, classifier):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(exports("onnx"))
    onnx.checker.check_model(model)
    kinds = [node.op_type for node in model.graph.node]
    assert not {"BatchNormalization", "Split", "Slice", "Concat", "ReduceMean", "Identity"} & set(kinds)
    fused = fuse(open_classifier(classifier).model)
    layers = sum(isinstance(layer, torch.nn.Conv2d | torch.nn.Linear) for layer in fused.modules())
    assert kinds.count("Conv") + kinds.count("Gemm") == layers


def test_classify_predict_takes_an_export_like_a_run(exports, classifier, animals, capsys):
    answers = []
    for model in (classifier, exports("onnx")):
        assert main(["classify", "predict", str(model), str(animals), "--json", "--workers", "0"]) == 0
        answers.append([json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")])
    for one, other in zip(*answers, strict=True):
        assert one["path"] == other["path"]
        assert [row["class"] for row in one["top"]] == [row["class"] for row in other["top"]]
        assert one["top"][0]["probability"] == pytest.approx(other["top"][0]["probability"], abs=1e-4)


def test_wrong_export_is_not_written(classifier, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ExportClassifier, "planes", lambda self, images: 1.1 * images)
    target = tmp_path / "model.pt2"
    assert main(["export", str(classifier), "--format", "torch", "--output", str(target)]) == 2
    assert "would be wrong" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def damaged(classifier, tmp_path):
    shutil.copytree(classifier, tmp_path / "damaged")
    (tmp_path / "damaged" / "model.safetensors").write_bytes(b"no weights")
    return tmp_path / "damaged"


def test_bad_input(classifier, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    run = str(classifier)
    for words, says in (
        ([str(damaged(classifier, tmp_path))], "model.safetensors is damaged"),
        ([run, "--output", str(tmp_path / "file" / "model.onnx")], "cannot be written"),
        ([run, "--output", str(tmp_path / "model.bin")], "must end in .onnx"),
        ([run, "--raw"], "for detectors"),
        ([run, "--images", str(tmp_path / "none.jpg")], "There is no file"),
    ):
        assert main(["export", *words]) == 2
        error = capsys.readouterr().err
        assert says in error and error.count("\n") == 1
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["export", run]) == 2
    assert "pip install 'mixtransfer[export]'" in capsys.readouterr().err


@pytest.mark.parametrize("format", ["onnx", "openvino", "torch"])
def test_damaged_and_foreign_files_are_named(format, exports, tmp_path):
    whole = exports(format)
    path = tmp_path / whole.name
    path.write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(UserError, match=f"{path.name} is damaged"):
        open_exported(path)


def test_a_file_that_could_run_code_is_not_opened(exports, tmp_path):
    """torch.export.load by itself would unpickle, and look up any function of torch's, its imports included."""
    plain = exports("torch")

    def changed(name: str, change) -> None:
        with zipfile.ZipFile(plain) as old, zipfile.ZipFile(tmp_path / name, "w") as new:
            for entry in old.namelist():
                new.writestr(entry, change(entry, old.read(entry)))

    def unpickled(entry, data):
        return pickle.dumps(print) if "sample_inputs" in entry else data

    def called(entry, data):
        return data.replace(b"torch.ops.aten.conv2d.default", b"torch.os.system") if "/models/" in entry else data

    changed("same.pt2", lambda entry, data: data)
    assert open_exported(tmp_path / "same.pt2").classes
    for change in (unpickled, called):
        changed("changed.pt2", change)
        with pytest.raises(UserError, match="more than tensors and operators"):
            open_exported(tmp_path / "changed.pt2")
