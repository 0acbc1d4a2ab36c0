"""What lies beside an export works where mixtransfer is not."""

import json

import numpy as np
import pytest
from alone import alone
from exporting import SUFFIXES, needs
from PIL import Image

from mixtransfer.commandline.cli import main
from mixtransfer.data.preprocessing import Preprocessing
from mixtransfer.deploy.companions import write_companions
from mixtransfer.deploy.metadata import Metadata


@pytest.fixture
def photographs(tmp_path):
    """Wide, tall, grey, and one that a camera held sideways."""
    from sklearn.datasets import load_sample_images

    first, second = load_sample_images().images
    pixels = {"wide": first, "tall": np.rot90(second), "grey": first[:300, :300, 0]}
    paths = [tmp_path / f"{name}.png" for name in pixels]
    for path, values in zip(paths, pixels.values(), strict=True):
        Image.fromarray(np.ascontiguousarray(values)).save(path)
    turned = Image.fromarray(second)
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    return [*paths, tmp_path / "turned.jpg"]


@pytest.mark.parametrize("words", [["onnx"], ["onnx", "--preprocess", "--softmax"], ["openvino"], ["litert"]])
def test_a_stranger_gets_our_answers(words, classifier, photographs, tmp_path, capsys):
    needs(words[0])
    target = tmp_path / "out" / f"model{SUFFIXES[words[0]]}"
    assert main(["export", str(classifier), "--format", *words, "--output", str(target), "--check", "2"]) == 0
    capsys.readouterr()
    assert (target.parent / "labels.txt").read_text() == "cat\ndog\nemu"
    assert main(["classify", "predict", str(target), *map(str, photographs), "--json"]) == 0
    ours = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    theirs = alone(target.parent / "predict.py", *photographs).splitlines()
    assert len(ours) == len(theirs) == len(photographs)
    for one, line, path in zip(ours, theirs, photographs, strict=True):
        said = line.removeprefix(f"{path}: ").split()
        best = one["top"][0]
        assert said[0] == best["class"] and float(said[1]) == pytest.approx(
            best["probability"], abs=2e-2
        )  # ours decodes large files at a reduced scale


def test_a_stranger_gets_our_boxes(detector, photographs, tmp_path, capsys):
    needs("onnx")
    target = tmp_path / "out" / "model.onnx"
    assert main(["export", str(detector), "--preprocess", "--output", str(target), "--check", "2"]) == 0
    capsys.readouterr()
    assert main(["detect", "predict", str(target), *map(str, photographs), "--json"]) == 0
    ours = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    theirs = alone(target.parent / "predict.py", *photographs).splitlines()
    things = [thing for one in ours for thing in one["objects"]]
    assert things and len(theirs) == len(things)
    for line, thing in zip(theirs, things, strict=True):
        name, score, _, *corners = line.split(": ")[1].replace(",", "").split()
        assert name == thing["class"] and float(score) == pytest.approx(thing["score"], abs=2e-3)
        assert [float(corner) for corner in corners] == pytest.approx(thing["box"], abs=0.5)


def test_files_of_others_are_left_alone(tmp_path):
    own = tmp_path / "predict.py"
    own.write_text("print('mine')\n")
    metadata = Metadata("classification", "mixnet_s", ["a b", "c\nd"], Preprocessing(32), False, ["logits"])
    labels, script = write_companions(tmp_path / "net.onnx", metadata)
    assert own.read_text() == "print('mine')\n" and not (tmp_path / "labels.txt").exists()
    assert labels.read_text() == "a b\nc d" and "'net-labels.txt'" in script.read_text()


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("size", [(90, 40), (30, 200), (64, 64)])
def test_the_script_sees_what_the_network_is_shown(mode, size, tmp_path):
    """By a graph that answers with its input's pixels."""
    onnx = pytest.importorskip("onnx")
    preprocessing = Preprocessing(32, 0.9, crop_mode=mode)
    metadata = Metadata("classification", "x", [str(i) for i in range(3072)], preprocessing, True, ["logits"])
    helper, kind = onnx.helper, onnx.TensorProto
    graph = helper.make_graph(
        [helper.make_node("Cast", ["images"], ["f"], to=kind.FLOAT), helper.make_node("Flatten", ["f"], ["logits"])],
        "g",
        [helper.make_tensor_value_info("images", kind.UINT8, ["n", 32, 32, 3])],
        [helper.make_tensor_value_info("logits", kind.FLOAT, ["n", 3072])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "m.onnx")
    _, script = write_companions(tmp_path / "m.onnx", metadata)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8))
    image.save(tmp_path / "i.png")
    line, seen = "    shares = np.exp", tmp_path / "seen.npy"
    script.write_text(script.read_text().replace(line, f"    np.save({str(seen)!r}, outputs[0])\n{line}"))
    alone(script, tmp_path / "i.png")
    assert (np.load(seen).reshape(32, 32, 3) == preprocessing.central_view(image)).all()
