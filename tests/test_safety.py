"""What comes from strangers runs no code, fills no memory, leads out of no folder and speaks no HTML."""

import contextlib
import io
import json
import os
import pickle
import shutil
import sqlite3
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest
from coco_sets import contents, make_coco, write_images
from folders import make_folder
from PIL import Image
from tiny import tiny

from mixtransfer.classification.train import train
from mixtransfer.commandline.cli import main
from mixtransfer.data.detection.load import load_detection_dataset
from mixtransfer.data.images import unusable_reason
from mixtransfer.data.load import load_dataset
from mixtransfer.errors import UserError
from mixtransfer.runs.checkpoint import load_checkpoint, save_checkpoint
from mixtransfer.runs.run import Run

SCRIPT = "<script>alert(1)</script>"


class Touch:
    """An object that makes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture(scope="module")
def scripted(tmp_path_factory) -> Run:
    """A finished run with a class, a file and a folder that would be HTML."""
    root = tmp_path_factory.mktemp("scripted") / "<script>alert(2)"
    make_folder(root, {"a": 10, "b": 10})
    (root / "a" / "000.jpg").rename(root / "a" / "<script>alert(3).jpg")
    names = {"a": SCRIPT, "b": "[/bold] $\\frac :cat:"}
    rows = [f'"{path.relative_to(root)}","{names[path.parent.name]}"' for path in sorted(root.glob("*/*.jpg"))]
    (root / "<script>alert(4).csv").write_text("path,label\n" + "\n".join(rows))
    output = root.parent / "<script>run"
    return train(tiny(root / "<script>alert(4).csv", output, epochs=1, test_fraction=0.5))


def assert_escaped(page: Path, *names: str) -> None:
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text.lower()
    for name in names:
        assert name.replace("<", "&lt;").replace(">", "&gt;") in text, name


def test_a_classifiers_page_and_tables_show_names_as_they_are(scripted, capsys):
    assert_escaped(scripted.report, SCRIPT, "<script>alert(4)")
    assert main(["classify", "evaluate", str(scripted.folder), "--workers", "0"]) == 0
    out = capsys.readouterr().out
    assert SCRIPT[:12] in out and "[/bold] $\\fr" in out


def test_a_comparisons_page_escapes_the_runs_names(scripted, tmp_path):
    other = tmp_path / "<script>alert(5)"
    shutil.copytree(scripted.folder, other)
    config = other / "config.yaml"
    config.write_text(config.read_text().replace("epochs: 1", "epochs: 2"))
    words = ["compare", str(scripted.folder), str(other), "--rounds", "0", "--output", str(tmp_path / "both")]
    assert main(words) == 0
    assert_escaped(tmp_path / "both" / "report.html", "<script>alert(5)")


def test_a_detectors_page_and_tables_show_names_as_they_are(tmp_path, capsys):
    pytest.importorskip("detectron2", reason="detectron2 is not installed: mixtransfer install-detectron2")
    from detect_tiny import tiny as tiny_detector

    from mixtransfer.detection.commands import print_run
    from mixtransfer.detection.train import train as train_detector

    def rename(coco):
        coco["categories"][0]["name"], coco["categories"][1]["name"] = SCRIPT, "[/bold]"

    data = make_coco(tmp_path / "<script>boxes", rename, train=12)
    run = train_detector(tiny_detector(data, tmp_path / "run", iterations=1, eval_every=1))
    print_run(run)
    assert_escaped(run.report, SCRIPT, "<script>boxes")
    out = capsys.readouterr().out
    assert SCRIPT in out and "[/bold]" in out


@pytest.mark.parametrize("task", ["classify", "detect"])
def test_a_checkpoint_with_code_is_refused_on_resume(task, scripted, tmp_path, capsys):
    folder, trap = tmp_path / "run", tmp_path / "trap"
    if task == "classify":
        shutil.copytree(scripted.folder, folder)
        (folder / "metrics.json").unlink()
    else:
        pytest.importorskip("detectron2", reason="detectron2 is not installed: mixtransfer install-detectron2")
        from detect_tiny import tiny as tiny_detector

        data = make_coco(tmp_path / "boxes", train=8)
        run = Run.create(folder, tiny_detector(data, folder))
        load_detection_dataset(str(data)).split().write(run.split)
    (folder / "last.ckpt").write_bytes(pickle.dumps({"state_dict": Touch(trap)}, protocol=2))
    assert main([task, "train", "--resume", str(folder), "--workers", "0"]) == 2
    err = capsys.readouterr().err
    assert "last.ckpt is damaged or holds pickled objects" in err and err.count("error: ") == 1
    assert not trap.exists()


def test_a_checkpoint_is_read_as_it_was_written(tmp_path):
    import torch

    state = {"weights": torch.arange(3.0), "rows": [{"epoch": 1, "loss": None}], "name": "x"}
    save_checkpoint(tmp_path / "c", state)
    read = load_checkpoint(tmp_path / "c")
    assert torch.equal(read.pop("weights"), state.pop("weights")) and read == state
    torch.save({"weights": Touch(tmp_path / "trap")}, tmp_path / "c")
    with pytest.raises(UserError, match="pickled objects"):
        load_checkpoint(tmp_path / "c")
    assert not (tmp_path / "trap").exists()


def test_a_checkpoint_removes_nothing(scripted, tmp_path):
    """Lightning removes the former checkpoint from wherever the one that it resumes from says that it lies."""
    import torch

    folder, victim = tmp_path / "run", tmp_path / "victim"
    shutil.copytree(scripted.folder, folder)
    victim.mkdir()
    (folder / "metrics.json").unlink()
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("epochs: 1", "epochs: 2"))
    state = torch.load(folder / "last.ckpt", weights_only=True)
    name = next(name for name in state["callbacks"] if name.startswith("ModelCheckpoint"))
    state["callbacks"][name]["best_model_path"] = str(folder / ".." / "victim")
    save_checkpoint(folder / "last.ckpt", state)
    assert main(["classify", "train", "--resume", str(folder), "--workers", "0"]) == 0
    assert victim.exists()


@pytest.mark.parametrize("state", [{}, [1], {"callbacks": {}, "state_dict": 3}])
def test_a_checkpoint_of_something_else_is_named(state, scripted, tmp_path, capsys):
    import torch

    folder = tmp_path / "run"
    shutil.copytree(scripted.folder, folder)
    (folder / "metrics.json").unlink()
    torch.save(state, folder / "last.ckpt")
    assert main(["classify", "train", "--resume", str(folder), "--workers", "0"]) == 2
    err = capsys.readouterr().err
    assert "last.ckpt is" in err and "begins the training anew" in err and err.count("error: ") == 1


def test_a_detectors_checkpoint_of_something_else_is_named(tmp_path, capsys):
    pytest.importorskip("detectron2", reason="detectron2 is not installed: mixtransfer install-detectron2")
    from detect_tiny import tiny as tiny_detector

    data = make_coco(tmp_path / "boxes", train=8)
    run = Run.create(tmp_path / "run", tiny_detector(data, tmp_path / "run"))
    load_detection_dataset(str(data)).split().write(run.split)
    save_checkpoint(run.checkpoint, {"next_iteration": 1, "model": {"x": 1}})
    assert main(["detect", "train", "--resume", str(run.folder), "--workers", "0"]) == 2
    err = capsys.readouterr().err
    assert "last.ckpt is not of this training" in err and err.count("error: ") == 1


def compressed(data: bytes) -> bytes:
    """The members of an archive, deflated."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return buffer.getvalue()


def torch_bytes(value: object, new: bool = True) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=new)
    return buffer.getvalue()


def torchscript() -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.ReLU()), buffer)
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
@pytest.mark.parametrize("read", ["weights", "checkpoint"])
@pytest.mark.parametrize("kind", ["bomb", "code", "code of old", "bare code", "torchscript", "tar"])
def test_torch_files_that_are_more_than_tensors(kind, read, tmp_path):
    """A few kilobytes that unpack to many, objects in each of torch's formats, and a program of torch's."""
    import torch

    from mixtransfer.backbones.weights import read_state_dict

    trap, path = Touch(tmp_path / "trap"), tmp_path / "file.pth"
    makers = {
        "bomb": lambda: compressed(torch_bytes({"x": torch.zeros(2**22)})),
        "code": lambda: torch_bytes({"x": trap}),
        "code of old": lambda: torch_bytes({"x": trap}, new=False),
        "bare code": lambda: pickle.dumps(trap, 2),
        "torchscript": torchscript,
        "tar": lambda: tar_of(trap),
    }
    path.write_bytes(makers[kind]())
    assert kind != "bomb" or path.stat().st_size < 2**16
    with pytest.raises(UserError) as caught:
        read_state_dict(path) if read == "weights" else load_checkpoint(path)
    assert "file.pth" in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "trap").exists()


def tar_of(value: object) -> bytes:
    """The format of torch before 0.1.10."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("sys_info", "storages", "tensors", "pickle"):
            data = pickle.dumps(value, 2)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def test_plain_torch_files_of_both_formats_are_read(tmp_path):
    import torch

    from mixtransfer.backbones.weights import read_state_dict

    for new in (True, False):
        (tmp_path / "w.pth").write_bytes(torch_bytes({"state_dict": {"x": torch.arange(3.0)}}, new))
        assert read_state_dict(tmp_path / "w.pth")["x"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("header", [struct.pack("<Q", 2**63), struct.pack("<Q", 9) + b'{"a":[[[[', b""])
def test_a_forged_weights_file_is_named(header, scripted, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(scripted.folder, folder)
    (folder / "model.safetensors").write_bytes(header)
    assert main(["classify", "evaluate", str(folder)]) == 2
    assert "model.safetensors is damaged" in capsys.readouterr().err


def bomb(path: Path) -> None:
    """A PNG of a few bytes that says it has 2.5 thousand million pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 1000)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))


def folder_with_bomb(root: Path) -> object:
    make_folder(root, {"cat": 8, "dog": 8})
    bomb(root / "cat" / "bomb.png")
    return load_dataset(str(root))


def coco_with_bomb(root: Path) -> object:
    def add(coco):
        coco["images"].append({"id": 99, "file_name": "bomb.png"})

    make_coco(root, add, train=8)
    bomb(root / "train" / "bomb.png")
    return load_detection_dataset(str(root))


def voc_with_bomb(root: Path) -> object:
    make_voc(root, ["a", "b", "c", "d", "bomb"])
    (root / "JPEGImages" / "bomb.jpg").unlink()
    bomb(root / "JPEGImages" / "bomb.png")
    return load_detection_dataset(str(root))


def yolo_with_bomb(root: Path) -> object:
    make_yolo(root)
    bomb(root / "images" / "bomb.png")
    return load_detection_dataset(str(root))


@pytest.mark.parametrize("build", [folder_with_bomb, coco_with_bomb, voc_with_bomb, yolo_with_bomb])
def test_a_decompression_bomb_is_left_out_and_named(build, tmp_path):
    dataset = build(tmp_path / "d")
    assert {path.name: reason for path, reason in dataset.skipped.items()} == {
        "bomb.png": "has more than 178 million pixels"
    }


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_postscript_starts_no_program(suffix, tmp_path, monkeypatch):
    """Pillow goes by the contents of a file, and would hand these to Ghostscript."""
    (tmp_path / "gs").write_text(f"#!/bin/sh\nmkdir -p {tmp_path / 'trap'}\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    path = tmp_path / f"x{suffix}"
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n")
    assert unusable_reason(path) == "is not an image, whatever its name says"
    assert not (tmp_path / "trap").exists()


def test_bombs_in_metadata_are_refused(tmp_path):
    from PIL import PngImagePlugin

    text = PngImagePlugin.PngInfo()
    text.add_text("a", "x" * 2**22, zip=True)
    Image.new("L", (4, 4)).save(tmp_path / "text.png", pnginfo=text)
    assert (tmp_path / "text.png").stat().st_size < 2**16
    assert "cannot be decoded" in (unusable_reason(tmp_path / "text.png") or "")


def make_voc(root: Path, stems: list[str]) -> None:
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    (root / "ImageSets" / "Main" / "trainval.txt").write_text("\n".join(stems))
    for stem in stems:
        Image.new("RGB", (64, 48)).save(root / "JPEGImages" / f"{stem}.jpg")
        (root / "Annotations" / f"{stem}.xml").write_text(
            "<annotation><object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>"
            "</bndbox></object></annotation>"
        )


def make_yolo(root: Path, text: str = "names: [cat]\ntrain: images\n") -> None:
    write_images(root / "images", contents(4))
    (root / "labels").mkdir()
    for i in range(1, 5):
        (root / "labels" / f"{i}.txt").write_text("0 0.5 0.5 0.2 0.2")
    (root / "data.yaml").write_text(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("names: [cat]\ntrain: ../outside\n", "'../outside', which lies outside of"),
        ("names: [cat]\ntrain: OUTSIDE\n", "which lies outside of"),
        ("names: [cat]\npath: ..\ntrain: outside\n", "'outside', which lies outside of"),
        ("names: [cat]\ntrain: list.txt\n", "list.txt names an image that lies outside of"),
        ("names: [cat]\ntrain: [[images]]\n", "must be folders or text files, not list"),
        ("names: [cat]\ntrain: gone\n", "'gone', which is not there"),
        ("names: [&a [x], *a]\ntrain: images\n", "references such as"),
        ("names: !!python/object/apply:os.getcwd []\ntrain: images\n", "could not determine a constructor"),
    ],
)
def test_yolo_stays_in_its_folder_and_is_plain(text, says, tmp_path):
    (tmp_path / "outside").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "outside" / "x.jpg")
    make_yolo(tmp_path / "d", text.replace("OUTSIDE", str(tmp_path / "outside")))
    (tmp_path / "d" / "list.txt").write_text("images/1.jpg\n../outside/x.jpg\n")
    with pytest.raises(UserError, match=says) as caught:
        load_detection_dataset(str(tmp_path / "d"))
    assert "\n" not in str(caught.value)


def test_yolo_paths_inside_may_be_absolute_or_from_another_layout(tmp_path):
    make_yolo(tmp_path / "d", f"names: [cat]\npath: {tmp_path / 'd'}\ntrain: ../images\nval: list.txt\n")
    (tmp_path / "d" / "list.txt").write_text(f"{tmp_path / 'd' / 'images' / '4.jpg'}\n")
    dataset = load_detection_dataset(str(tmp_path / "d"))
    assert [record.file.name for record in dataset.test] == ["4.jpg"]


@pytest.mark.parametrize("name", ["../../x.jpg", "/etc/passwd", "a/../../../x.jpg", "", "\ud800.jpg", 7])
def test_coco_file_names_stay_in_their_folder(name, tmp_path):
    root = make_coco(tmp_path / "d", lambda coco: coco["images"][0].update(file_name=name), train=4)
    with pytest.raises(UserError, match="must be relative to the folder|has no file_name"):
        load_detection_dataset(str(root))


@pytest.mark.parametrize("stem", ["../x", "/etc/passwd", "a/b"])
def test_voc_lists_stay_in_their_folder(stem, tmp_path):
    make_voc(tmp_path, ["a", "b", "c"])
    (tmp_path / "ImageSets" / "Main" / "trainval.txt").write_text(f"a\n{stem}\n")
    with pytest.raises(UserError, match="must be the name of an image in JPEGImages"):
        load_detection_dataset(str(tmp_path))


@pytest.mark.parametrize("path", ["../x.jpg", "/etc/passwd", "link/x.jpg"])
def test_manifest_paths_stay_in_their_folder(path, tmp_path):
    (tmp_path / "link").symlink_to("/")
    (tmp_path / "m.csv").write_text(f"path,label\n{path},cat\n")
    with pytest.raises(UserError, match="line 2: .* lies outside of"):
        load_dataset(str(tmp_path / "m.csv"))


@pytest.mark.parametrize(
    "head",
    [
        '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>',
        '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE annotation SYSTEM "http://localhost/x.dtd">',
    ],
)
def test_xml_entities_are_refused(head, tmp_path):
    make_voc(tmp_path, ["a", "b", "c"])
    path = tmp_path / "Annotations" / "a.xml"
    path.write_text(head + path.read_text())
    with pytest.raises(UserError, match="a.xml is not a Pascal VOC annotation .*document type"):
        load_detection_dataset(str(tmp_path))


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("metrics.json", DEEP),
        ("metrics.csv", "epoch,seconds\n0,1\n1\n"),
        ("metrics.csv", "epoch,seconds\n0,x\n"),
        ("metrics.csv", "epoch,seconds\n"),
        ("metrics.csv", ""),
        ("test_predictions.csv", "image,class\n"),
        ("model.json", DEEP),
        ("config.yaml", DEEP),
    ],
)
def test_a_damaged_file_of_a_run_is_named(file, text, scripted, tmp_path, capsys):
    folder, other = tmp_path / "run", tmp_path / "other"
    for place in (folder, other):
        shutil.copytree(scripted.folder, place)
    config = other / "config.yaml"
    config.write_text(config.read_text().replace("epochs: 1", "epochs: 2"))
    (folder / file).write_text(text)
    words = ["compare", str(folder), str(other), "--rounds", "0", "--output", str(tmp_path / "both")]
    assert main(words) == 2
    err = capsys.readouterr().err
    assert file in err and err.count("error: ") == 1


@pytest.mark.parametrize("name", ["tuned.safetensors", "start.safetensors"])
def test_damaged_weights_of_an_unfinished_run_are_named(name, scripted, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(scripted.folder, folder)
    (folder / "metrics.json").unlink()
    shutil.copy(folder / "model.safetensors", folder / "tuned.safetensors")
    shutil.copy(folder / "model.safetensors", folder / name)
    if name == "tuned.safetensors":
        (folder / name).write_bytes(b"x")
    assert main(["classify", "train", "--resume", str(folder), "--workers", "0"]) == 2
    assert f"{name} is" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [DEEP, "{}", "[1]", '[{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, null], "score": 1}]'],
)
def test_damaged_detections_are_named(text, tmp_path):
    from mixtransfer.comparison.detection_outcome import _read_detections

    (tmp_path / "test_detections.json").write_text(text)
    with pytest.raises(UserError, match="test_detections.json is damaged"):
        _read_detections(Run(tmp_path))


def test_what_doctor_remembers_may_be_anyones(tmp_path, capsys):
    make_folder(tmp_path / "d", {"cat": 8, "dog": 8})
    words = ["doctor", str(tmp_path / "d"), "--output", str(tmp_path / "out"), "--json"]
    assert main(words) in (0, 1)
    answer = json.loads(capsys.readouterr().out)
    with contextlib.closing(sqlite3.connect(tmp_path / "out" / "looks.sqlite")) as base, base:
        base.execute("UPDATE looks_2 SET look_hash = 'no number', look_width = 'x'")
    assert main(words) in (0, 1)
    assert json.loads(capsys.readouterr().out)["statistics"] == answer["statistics"]


def test_names_that_are_not_text(tmp_path, capsys):
    """Folders and files from another system's encoding."""
    root = make_folder(tmp_path / "d", {"cat": 8, "dog": 8})
    try:
        for path in list((root / "cat").iterdir()):
            path.rename(path.with_name(f"caf\udce9{path.name}"))
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    run = train(tiny(root, tmp_path / "run", epochs=1))
    assert "caf\\udce9" in run.test_predictions.read_text(encoding="utf-8")
    (root / "cat").rename(root / "caf\udce9")
    assert main(["classify", "train", str(root)]) == 2
    assert "'caf\\udce9'" in capsys.readouterr().err


def test_descriptions_with_odd_values_are_named(scripted, tmp_path):
    from mixtransfer.classification.model import read_classifier_card

    card = json.loads(scripted.model.read_text())
    for key, value in {"size": 10**9, "crop": 0, "mean": [0, 0], "std": [0, 0, 0], "interpolation": "x"}.items():
        changed = {**card, "preprocessing": {**card["preprocessing"], key: value}}
        (tmp_path / "model.json").write_text(json.dumps(changed))
        with pytest.raises(UserError, match="its preprocessing is not whole"):
            read_classifier_card(tmp_path / "model.json")
