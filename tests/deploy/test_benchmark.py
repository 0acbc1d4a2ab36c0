"""`benchmark` on runs, exported files and backbones."""

import json
import shutil

import pytest

from mixtransfer.backbones import count_macs, create_backbone
from mixtransfer.commandline.cli import main
from mixtransfer.deploy import benchmark
from mixtransfer.deploy.runtimes import FILE_RUNTIMES

QUICK = ["--rounds", "2", "--threads", "1"]


@pytest.fixture(autouse=True)
def memory_is_not_measured_again(monkeypatch):
    """It takes a process for each runtime; see test_memory."""
    monkeypatch.setattr(benchmark, "peak_memory", lambda load, open_calls: {1: 1000})


@pytest.fixture
def exported_before(monkeypatch, exports):
    """What is measured was exported before; OpenVINO's weights lie beside its file."""

    folder = [exports(name) for name in ("onnx", "openvino")][0].parent

    def write(network, metadata, path, half=False):
        for file in folder.glob("model.*"):
            shutil.copy(file, path.with_suffix(file.suffix))

    for name in ("onnx", "openvino"):
        monkeypatch.setattr(FILE_RUNTIMES[name], "write", write)


def test_run_in_every_runtime(classifier, exported_before, tmp_path, capsys):
    assert main(["benchmark", str(classifier), *QUICK, "--batches", "1,2", "--output", str(tmp_path), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer == json.loads((tmp_path / "benchmark.json").read_text())
    speeds = {(speed["runtime"], speed["batch"]): speed for speed in answer["speeds"]}
    assert speeds.keys() == {(name, batch) for name in ("pytorch", "onnxruntime", "openvino") for batch in (1, 2)}
    model = create_backbone("mobilenetv3_small_050.mixconv35", weights="none", num_classes=3)
    assert answer["macs"] == count_macs(model, (3, 32, 32)) and answer["image_size"] == 32
    for (_, batch), speed in speeds.items():
        p50, p90, p99 = speed["milliseconds"].values()
        assert 0 < p50 <= p90 and (p99 is None) == (speed["calls"] < 1000)
        assert speed["images_per_second"] == pytest.approx(1000 * batch / p50)
        share = answer["macs"] * speed["images_per_second"] / answer["peak"]["1"]
        assert speed["share"] == pytest.approx(share) and share > 0  # beside other work the peak is less
        assert speed["memory"] == (1000 if batch == 1 else None)
    page = (tmp_path / "report.html").read_text()
    assert "OpenVINO" in page and "<svg" in page
    assert (tmp_path / "figures" / "latency.png").is_file()


def test_exported_file_runs_in_its_runtime(exports, tmp_path, capsys):
    assert main(["benchmark", str(exports("onnx")), *QUICK, "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "ONNX Runtime" in printed and "PyTorch" not in printed.split("p50")[1] and "GFLOP/s" in printed


def test_folder_that_is_no_run(tmp_path, capsys):
    assert main(["benchmark", str(tmp_path)]) == 2
    assert "neither a run nor an exported file" in capsys.readouterr().err
