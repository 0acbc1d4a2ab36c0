"""Exported files against PyTorch, as users write and use them."""

import importlib.util
import json
import shutil

import numpy as np
import pytest
import torch
from exporting import SUFFIXES

from mixtransfer.backbones.fuse import fuse
from mixtransfer.classification.model import open_classifier
from mixtransfer.commandline.cli import main
from mixtransfer.data.load import load_dataset
from mixtransfer.data.preprocessing import Normalize
from mixtransfer.deploy.exported import open_exported
from mixtransfer.deploy.network import ExportClassifier
from mixtransfer.errors import UserError


@pytest.mark.parametrize("format", SUFFIXES)
def test_same_logits_for_any_number_of_images(format, exports, classifier):
    trained = open_classifier(classifier)
    exported = open_exported(exports(format))
    assert exported.runtime.format == format
    assert exported.classes == trained.classes
    assert exported.preprocessing == trained.preprocessing
    for count in (3, 1, 2):
        views = np.random.default_rng(count).integers(256, size=(count, 32, 32, 3), dtype=np.uint8)
        images = torch.from_numpy(views).permute(0, 3, 1, 2)
        with torch.inference_mode():
            expected = trained.model(Normalize(trained.preprocessing)(images))
        torch.testing.assert_close(torch.as_tensor(exported(views)["logits"]), expected, atol=1e-4, rtol=1e-4)


def test_comparison_with_pytorch_is_kept(animals, exports):
    target = exports("onnx")
    parity = json.loads(target.with_name("model.onnx.json").read_text())["parity"]
    assert (
        parity["images"] == len(load_dataset(str(animals)).test) and "run's data" in parity["source"]
    )  # the test part
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


@pytest.mark.parametrize("format", ["onnx", "openvino", "torch", "litert"])
def test_damaged_and_foreign_files_are_named(format, exports, tmp_path):
    whole = exports(format)
    path = tmp_path / whole.name
    path.write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(UserError, match=f"{path.name} is damaged"):
        open_exported(path)


@pytest.mark.parametrize("version", ["1.24.0", "1.23.2"])
@pytest.mark.parametrize("place", ["../secret.bin", "{root}/secret.bin", "link.bin", "*/_ORT_MEM_ADDR_/*"])
def test_an_onnx_file_reads_nothing_elsewhere(place, version, exports, tmp_path, monkeypatch):
    """ONNX Runtime sees to it since 1.24, and we do for those before."""
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    if runtime.__version__.startswith("1.2") and int(runtime.__version__.split(".")[1]) < 24 and version == "1.24.0":
        pytest.skip("it does not in this version")
    monkeypatch.setattr(runtime, "__version__", version)
    model = onnx.load(exports("onnx"))
    weight = next(tensor for tensor in model.graph.initializer if len(tensor.raw_data) > 64)
    (tmp_path / "secret.bin").write_bytes(weight.raw_data)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link.bin").symlink_to(tmp_path / "secret.bin")
    length = len(weight.raw_data)
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": place.format(root=tmp_path), "offset": "0", "length": str(length)}.items():
        weight.external_data.add(key=key, value=value)
    path = tmp_path / "in" / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match="keeps tensors in other files" if version < "1.24" else "is damaged") as caught:
        open_exported(path)
    assert "\n" not in str(caught.value)


def test_an_openvino_file_is_no_other_format(exports, tmp_path):
    """OpenVINO goes by the contents, and would read what an ONNX file points to."""
    pytest.importorskip("openvino")
    (tmp_path / "model.xml").write_bytes(exports("onnx").read_bytes())
    with pytest.raises(UserError, match="no OpenVINO model, whatever its name says"):
        open_exported(tmp_path / "model.xml")
    text = exports("openvino").read_text()
    (tmp_path / "model.xml").write_text('<!DOCTYPE net [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + text)
    with pytest.raises(UserError, match="no OpenVINO model"):
        open_exported(tmp_path / "model.xml")
