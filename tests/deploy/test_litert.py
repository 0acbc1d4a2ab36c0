"""LiteRT files, beyond what the tests of all formats ask."""

import importlib.util
import json
import zipfile

import numpy as np
import pytest
import torch
from exporting import needs

from mixtransfer.classification.model import open_classifier
from mixtransfer.commandline.cli import main
from mixtransfer.data.preprocessing import Normalize
from mixtransfer.deploy.exported import open_exported
from mixtransfer.deploy.runtimes import FILE_RUNTIMES, runtime_of
from mixtransfer.deploy.runtimes.base import image_by_image
from mixtransfer.errors import UserError


def test_half_the_bytes_in_fp16(exports, classifier, tmp_path):
    whole, half = exports("litert"), tmp_path / "half.tflite"
    words = ["--precision", "fp16", "--preprocess", "--softmax", "--check", "2"]
    assert main(["export", str(classifier), "--format", "litert", "--output", str(half), *words]) == 0
    assert 0.49 < half.stat().st_size / whole.stat().st_size < 0.56
    views = np.random.default_rng(0).integers(256, size=(2, 32, 32, 3), dtype=np.uint8)
    trained = open_classifier(classifier)
    with torch.inference_mode():
        expected = trained.model(Normalize(trained.preprocessing)(torch.from_numpy(views).permute(0, 3, 1, 2)))
    found = open_exported(half)(views)["probabilities"]
    torch.testing.assert_close(torch.as_tensor(found), expected.softmax(1), atol=2e-3, rtol=1e-2)


def test_its_signature_and_its_archive_say_what_there_is(exports):
    path = exports("litert")
    from ai_edge_litert.interpreter import Interpreter

    signature = Interpreter(str(path)).get_signature_list()["serving_default"]
    assert signature == {"inputs": ["images"], "outputs": ["logits"]}
    with zipfile.ZipFile(path) as archive:
        assert archive.read("labels.txt").decode().split("\n") == ["cat", "dog", "emu"]
        assert json.loads(archive.read("mixtransfer.json"))["classes"] == ["cat", "dog", "emu"]


def test_files_of_others_are_not_opened(exports, tmp_path):
    content = exports("litert").read_bytes()
    start = zipfile.ZipFile(exports("litert")).filelist[0].header_offset
    path = tmp_path / "model.tflite"
    path.write_bytes(content[:start])
    with pytest.raises(UserError, match="does not say what its classes are"):
        open_exported(path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:  # which may hide gigabytes
        archive.writestr("mixtransfer.json", zipfile.ZipFile(exports("litert")).read("mixtransfer.json"))
    with pytest.raises(UserError, match="does not say what its classes are"):
        open_exported(path)


def test_a_file_reads_nothing_elsewhere(exports, tmp_path):
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="pip install 'mixtransfer[phone]'")
    import flatbuffers

    model = schema.ModelT.InitFromPackedBuf(exports("litert").read_bytes())
    group = schema.ExternalBufferGroupT()
    group.name = "/etc/passwd"
    model.externalBufferGroups = [group]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    (tmp_path / "model.tflite").write_bytes(builder.Output())
    with pytest.raises(UserError, match="keeps tensors in other files"):
        open_exported(tmp_path / "model.tflite")


def test_what_writes_them_is_named_if_it_is_not_there(classifier, monkeypatch, capsys):
    pytest.importorskip("ai_edge_litert", reason="pip install 'mixtransfer[phone]'")
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "litert_torch" else found(name))
    assert main(["export", str(classifier), "--format", "litert"]) == 2
    error = capsys.readouterr().err
    assert "needs the package litert_torch: pip install 'mixtransfer[litert]'" in error and error.count("\n") == 1
    assert "--no-deps litert-torch==" in error


@pytest.mark.parametrize("format", ["executorch", "litert"])
def test_a_detector_needs_raw(format, detector, tmp_path, capsys):
    needs(format)
    words = ["export", str(detector), "--format", format, "--output", str(tmp_path / f"m{suffix_of(format)}")]
    assert main(words) == 2
    assert "has no non-maximum suppression: export a detector for it with --raw" in capsys.readouterr().err


def suffix_of(format: str) -> str:
    return FILE_RUNTIMES[format].suffixes[0]


def test_benchmark_takes_a_file(exports, tmp_path, monkeypatch, capsys):
    from mixtransfer.deploy import benchmark

    monkeypatch.setattr(benchmark, "peak_memory", lambda load, open_calls: {1: 1000})
    words = ["--rounds", "1", "--threads", "1", "--batches", "1,2", "--output", str(tmp_path), "--json"]
    assert main(["benchmark", str(exports("litert")), *words]) == 0
    speeds = json.loads(capsys.readouterr().out)["speeds"]
    assert [(speed["runtime"], speed["batch"]) for speed in speeds] == [("litert", 1), ("litert", 2)]


def test_images_go_one_by_one_and_what_has_no_images_comes_once():
    def call(image: np.ndarray) -> list[np.ndarray]:
        assert len(image) == 1
        return [image + 1, np.full((5, 4), 7.0)]

    first, second = image_by_image(call)(np.arange(3.0)[:, None])
    assert first.tolist() == [[1], [2], [3]] and second.shape == (5, 4)


def test_a_folder_is_a_file_only_where_the_format_has_folders(tmp_path):
    for name in ("a.mlpackage", "a.tflite"):
        (tmp_path / name).mkdir()
    assert runtime_of(tmp_path / "a.mlpackage") is FILE_RUNTIMES["coreml"]
    assert runtime_of(tmp_path / "a.tflite") is None
    (tmp_path / "b.mlpackage").touch()
    with pytest.raises(UserError, match="There is no exported file"):
        open_exported(tmp_path / "b.mlpackage")
