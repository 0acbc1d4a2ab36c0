"""Detectors that start from another one: torchvision's, published or as a file, and runs."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from coco_sets import make_coco
from detect_tiny import tiny
from detecting import torchvision_ssdlite
from detectron2.engine import HookBase
from torch import nn
from torchvision.models import mobilenet_v3_large
from torchvision.models.detection import ssdlite320_mobilenet_v3_large

from mixtransfer.backbones import backbone_spec
from mixtransfer.commandline.cli import main
from mixtransfer.detection import starts
from mixtransfer.detection.model import build_detector, open_detector
from mixtransfer.detection.published_files import check_digest
from mixtransfer.detection.starts import STARTS, find_start, load_start, same_names
from mixtransfer.detection.torchvision_weights import COCO
from mixtransfer.detection.train import train
from mixtransfer.errors import UserError
from mixtransfer.runs.model_card import ModelCard
from mixtransfer.runs.run import Run

CATEGORIES = COCO.meta["categories"]
NAMES = [name for name in CATEGORIES[1:] if name != "N/A"]


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    """torchvision's detector with random weights; numbers that no class has are as unlikely as after a training."""
    detector = torchvision_ssdlite()
    unused = [label for label, name in enumerate(CATEGORIES) if name == "N/A"]
    with torch.no_grad():
        for predictor in detector.head.classification_head.module_list:
            predictor[-1].weight.unflatten(0, (6, 91))[:, unused] = 0
            predictor[-1].bias.unflatten(0, (6, 91))[:, unused] = -50
    return detector


@pytest.fixture(scope="module")
def file(theirs, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "ssdlite.pth"
    torch.save(theirs.state_dict(), path)
    return path


def data_of(folder: Path, *names: str, **parts: int) -> Path:
    """A set whose classes have these names."""

    def renamed(coco):
        coco["categories"] = [{"id": i, "name": name} for i, name in enumerate(names, 1)]
        for i, annotation in enumerate(coco["annotations"]):
            annotation["category_id"] = 1 + i % len(names)

    return make_coco(folder, renamed, **(parts or {"train": 10}))


def asked(data: Path, output: Path, weights, **changes):
    """Options that leave the network to the start."""
    options = {"backbone": "auto", "weights": str(weights), "iterations": 1, "eval_every": 1, "warmup": 0, **changes}
    return tiny(data, output, **options)


class Begun(Exception):
    """Carries the weights that a training begins with."""


class Stop(HookBase):
    def before_train(self):
        raise Begun({name: value.contiguous() for name, value in self.trainer.model.state_dict().items()})


def begun(options) -> Run:
    """The run of a training that has only begun, with the weights that it began with."""
    with pytest.raises(Begun) as stopped:
        train(options, hooks=[Stop()])
    run = Run(Path(options.output))
    safetensors.torch.save_file(stopped.value.args[0], run.weights)
    return run


@torch.no_grad()
def same_detections(theirs, trained, image) -> None:
    """All 300 detections of an image, of the same classes by name."""
    expected = theirs([image])[0]
    finding = trained.finding(max_detections=300)
    found = finding.model([{"image": image * 255}])[0]["instances"]
    spelled = {name.replace(" ", "_").upper(): label for label, name in enumerate(CATEGORIES)}
    labels = torch.tensor([spelled[trained.classes[label]] for label in found.pred_classes])
    assert len(labels) == len(expected["labels"]) == 300 and len(labels.unique()) > 3
    torch.testing.assert_close(found.scores, expected["scores"], rtol=0, atol=1e-5)
    # Two detections of nearly the same score may change places by rounding.
    distance = torch.cdist(found.pred_boxes.tensor, expected["boxes"], p=torch.inf)
    distance[labels[:, None] != expected["labels"]] = torch.inf
    nearest, index = distance.min(1)
    assert nearest.max() < 1e-3 and len(index.unique()) == 300


def test_torchvisions_file_gives_torchvisions_detections(theirs, file, tmp_path, capsys):
    """Whatever the order of the classes and their spelling, through the files of a Run; statistics kept or not."""
    classes = [name.replace(" ", "_").upper() for name in sorted(NAMES, key=lambda name: name[::-1])]
    data = data_of(tmp_path / "d", *classes)
    run = begun(asked(data, tmp_path / "r", file, image_size=320, batch_size=2, batch_norm="frozen"))
    assert f"Started from {file}, which knows all classes." in capsys.readouterr().out
    card = ModelCard.read(run.model)
    assert card.backbone == "mobilenetv3_large_100.reduced" and card.details["anchors"] == [0.2, 0.95]
    assert card.details["start"] == {"weights": "ssdlite.pth"} and run.read_config()["backbone"] == card.backbone
    trained = open_detector(run.folder)
    assert trained.classes == classes
    norms = [norm for norm in trained.model.modules() if isinstance(norm, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.03)}
    for seed in range(3):
        same_detections(theirs, trained, torch.rand(3, 320, 320, generator=torch.Generator().manual_seed(seed)))


def test_the_rows_of_the_classes_that_it_knows(theirs, file, tmp_path, capsys):
    """By the command, which reads the data and the file alone; a learning rate of 0 leaves the weights."""
    data = data_of(tmp_path / "d", "Traffic_Light", "gnu", "dog", "n/a")
    words = ["detect", "train", str(data), "--weights", str(file), "--output", str(tmp_path / "r"), "--image-size"]
    words += ["96", "--iterations", "1", "--lr", "0", "--ema", "false", "--workers", "0", "--batch-size", "4"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert f"Started from {file}; 2 of 4 classes by name: Traffic_Light, dog as there, gnu, n/a from scratch." in out
    assert f"Anchors as in {file} (0.2,0.95)" not in out  # the boxes are large
    state = safetensors.torch.load_file(tmp_path / "r" / "model.safetensors")
    for level, predictor in enumerate(theirs.head.classification_head.module_list):
        for kind in ("weight", "bias"):
            ours = state[f"head.classes.{level}.1.{kind}"].unflatten(0, (6, 5))
            rows = getattr(predictor[-1], kind).unflatten(0, (6, 91))
            known = [CATEGORIES.index("traffic light"), CATEGORIES.index("dog"), 0]
            assert torch.equal(ours[:, [0, 2, 4]], rows[:, known])
            if kind == "weight":
                assert 0.02 < ours[:, [1, 3]].std() < 0.04
            else:
                assert not ours[:, [1, 3]].any()


@pytest.mark.parametrize("kind", ["safetensors", "module", "uncounted"])
def test_the_same_tensors_in_other_files(file, tmp_path, kind):
    """Sorted by name, of a DataParallel, or without the batch norms' step counters."""
    state = torch.load(file)
    path = tmp_path / f"same.{'safetensors' if kind == 'safetensors' else 'pth'}"
    if kind == "safetensors":
        safetensors.torch.save_file(dict(sorted(state.items())), path)
    elif kind == "module":
        torch.save({"model": {f"module.{name}": value for name, value in state.items()}}, path)
    else:
        torch.save({k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}, path)
    reference, start = find_start(str(file)), find_start(str(path))
    assert list(start.state) == list(reference.state) and len(start.state) == 476
    for name, value in start.state.items():
        assert name.endswith("num_batches_tracked") or torch.equal(value, reference.state[name])


def test_a_file_of_ones_own_classes_has_no_names(tmp_path, capsys):
    path = tmp_path / "mine.pth"
    torch.save(ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=3).state_dict(), path)
    start = find_start(str(path))
    assert start.classes == [None, None]
    run = begun(asked(data_of(tmp_path / "d", "dog", "cat"), tmp_path / "r", path))
    assert "classes by name: none is known (it has no names): dog, cat" in capsys.readouterr().out
    state = open_detector(run.folder).model.state_dict()
    for name, value in start.state.items():
        if name == "head.classes.0.1.weight":
            same = (state[name] == value).flatten(1).all(1).view(6, 3)
            assert same[:, 2].all() and not same[:, :2].any()  # the background
        elif not name.startswith("head.classes."):
            assert torch.equal(state[name], value), name


def test_focal_loss_takes_no_logits(file, tmp_path, capsys):
    begun(asked(data_of(tmp_path / "d", "dog", "cat"), tmp_path / "r", file, loss="focal"))
    assert "none is known (it has another loss): dog, cat" in capsys.readouterr().out


def unreduced() -> dict:
    """As torchvision makes it beside ImageNet's weights."""
    state = torchvision_ssdlite().state_dict()
    name = "backbone.features.1.1.block.0.0.weight"
    return {**state, name: torch.zeros(960, 160, 1, 1)}


class Code:
    def __reduce__(self):
        return print, ("code was run",)


BAD_FILES = {
    "unreduced.pth": (unreduced, "holds weights of another architecture than torchvision's ssdlite320_mobilenet_v3_"),
    "ssd300.pth": (
        lambda: {"head.classification_head.module_list.0.weight": torch.zeros(4)},
        "holds weights of another architecture",
    ),
    "body.pth": (lambda: mobilenet_v3_large().state_dict(), "holds weights of another architecture than mixnet_s"),
    "code.pth": (lambda: {"model": {}, "args": Code()}, "holds pickled objects beside its weights"),
    "state-deadbeef.pth": (lambda: {"x": torch.zeros(2)}, "by its name its SHA-256 begins with deadbeef"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_files_that_are_no_start(name, tmp_path, capsys):
    content, sentence = BAD_FILES[name]
    torch.save(content(), tmp_path / name)
    data = data_of(tmp_path / "d", "dog", "cat")
    output = tmp_path / "r"
    assert main(["detect", "train", str(data), "--weights", str(tmp_path / name), "--output", str(output)]) == 2
    out, err = capsys.readouterr()
    assert sentence in err and name in err and "code was run" not in out and len(err.strip().splitlines()) == 1


def test_a_file_that_is_cut_off_leaves_no_folder(file, tmp_path, capsys):
    cut = tmp_path / "cut.pth"
    cut.write_bytes(file.read_bytes()[:1_000_000])
    data = data_of(tmp_path / "d", "dog", "cat")
    assert main(["detect", "train", str(data), "--weights", str(cut), "--output", str(tmp_path / "r")]) == 2
    assert "cut.pth cannot be read: the file is damaged" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"backbone": "mixnet_s"}, "another backbone, mobilenetv3_large_100.reduced, than --backbone mixnet_s"),
        ({"tap": "stage"}, "with the tap expanded: leave --tap stage out"),
    ],
)
def test_another_network_than_the_starts(file, tmp_path, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        train(asked(data_of(tmp_path / "d", "dog", "cat"), tmp_path / "r", file, **changes))
    assert not (tmp_path / "r").exists()


def test_the_same_network_may_be_named(file, tmp_path):
    options = asked(data_of(tmp_path / "d", "dog"), tmp_path / "r", file, backbone="mobilenetv3_large_100.reduced")
    begun(replace(options, tap="expanded", anchors="0.1,0.9"))
    assert open_detector(tmp_path / "r").model.anchor_generator.scales == (0.1, 0.9)


@pytest.fixture
def published(file, tmp_path, monkeypatch) -> Path:
    """The file under its hash, at the address of --weights coco; PyTorch's hub has an empty cache."""
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    path = tmp_path / "address" / f"ssdlite-{digest[:8] if not digest[:8].isdigit() else digest}.pth"
    path.parent.mkdir()
    shutil.copy(file, path)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setitem(STARTS, "coco", replace(STARTS["coco"], url=path.as_uri()))
    return path


def test_coco_is_fetched_once_into_the_hubs_cache(published, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(STARTS, "coco", replace(STARTS["coco"], license="cc-by-nc-4.0"))
    data = data_of(tmp_path / "d", "dog", "cat")
    run = begun(asked(data, tmp_path / "r", "coco"))
    out = capsys.readouterr().out
    assert f"Fetching the weights coco from {published.as_uri()}." in out
    assert "Started from coco, which knows all classes." in out
    assert "Warning: coco has the licence cc-by-nc-4.0, which forbids commercial use." in out
    assert json.loads(run.model.read_text())["details"]["start"] == {"weights": "coco", "license": "cc-by-nc-4.0"}
    assert (tmp_path / "hub" / "checkpoints" / published.name).is_file()
    published.unlink()
    start = find_start("coco")
    assert start.backbone.name == "mobilenetv3_large_100.reduced" and "Fetching" not in capsys.readouterr().out
    (tmp_path / "hub" / "checkpoints" / published.name).write_bytes(b"damaged")
    with pytest.raises(UserError, match="by its name its SHA-256 begins with"):
        find_start("coco")


def test_a_published_file_is_known_by_its_name(published):
    assert find_start(str(published)).describe() == {"weights": published.name, "license": "other"}


@pytest.mark.parametrize("case", ["missing", "other", "unmarked"])
def test_coco_cannot_be_fetched(published, tmp_path, monkeypatch, capsys, case):
    reasons = {"missing": "URLError", "other": "invalid hash value", "unmarked": "its address has no hash"}
    if case == "missing":
        published.unlink()
    elif case == "other":
        published.write_bytes(b"a page of a proxy")
    else:
        monkeypatch.setitem(STARTS, "coco", replace(STARTS["coco"], url=published.with_name("ssdlite.pth").as_uri()))
    data = data_of(tmp_path / "d", "dog", "cat")
    assert main(["detect", "train", str(data), "--weights", "coco", "--output", str(tmp_path / "r")]) == 2
    err = capsys.readouterr().err
    assert "The weights coco could not be fetched from file:" in err and reasons[case] in err
    assert "give it with --weights FILE" in err
    assert not list((tmp_path / "hub").rglob("*.pth")) and not (tmp_path / "r").exists()


def test_coco_is_torchvisions_own_file(tmp_path):
    assert STARTS["coco"].url == "https://download.pytorch.org/models/ssdlite320_mobilenet_v3_large_coco-a79551df.pth"
    assert len(STARTS["coco"].classes) == 90 and STARTS["coco"].classes[0] == "person"
    for start in STARTS.values():
        spec = backbone_spec(start.backbone)
        assert spec.name == start.backbone and start.license
        path = tmp_path / Path(start.url).name
        path.write_bytes(b"")
        with pytest.raises(UserError, match="SHA-256"):  # the address has a hash
            check_digest(path)


@pytest.mark.parametrize("name", ["state-20261127.pth", "state.pth", "best-abc.pth", "state-deadbeef.safetensors"])
def test_names_that_promise_nothing(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    check_digest(tmp_path / name)


def test_a_run_named_coco_is_asked_about(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "coco").mkdir()
    (tmp_path / "coco" / "config.yaml").write_text("{}")
    with pytest.raises(UserError, match="there is a coco here too: write ./coco"):
        find_start("coco")


def test_a_run_hands_its_network_on(tmp_path):
    data = data_of(tmp_path / "d", "dog", "cat")
    first = begun(asked(data, tmp_path / "first", "none", backbone="mobilenetv3_small_050", tap="stage"))
    again = begun(asked(data, tmp_path / "again", first.folder))
    card = ModelCard.read(again.model)
    assert (card.backbone, card.details["tap"]) == ("mobilenetv3_small_050", "stage")
    assert card.details["start"] == {"weights": "first"}


def test_a_backbone_file_has_to_be_named(tmp_path):
    values = {"format": 1, "name": "mine", "stem": 8, "head": 64, "image_size": 64}
    values["blocks"] = [[f"ir_r1_k3.5_s2_e2_c{c}"] for c in (16, 24, 32, 40)]
    (tmp_path / "mine.json").write_text(json.dumps(values))
    data = data_of(tmp_path / "d", "dog", "cat")
    first = begun(asked(data, tmp_path / "first", "none", backbone=str(tmp_path / "mine.json")))
    with pytest.raises(UserError, match="of the backbone file mine: name the file with --backbone"):
        train(asked(data, tmp_path / "again", first.folder))
    again = asked(data, tmp_path / "again", first.folder, backbone=str(tmp_path / "mine.json"))
    assert ModelCard.read(begun(again).model).spec.architecture.name == "mine"


def test_a_start_without_a_backbone_is_as_ever(tmp_path):
    options = asked(data_of(tmp_path / "d", "dog"), tmp_path / "r", "none")
    assert starts.with_start(options, None).backbone == "mixnet_s"


def test_finer_anchors_are_told(file, tmp_path, capsys):
    def small(coco):
        for annotation in coco["annotations"]:
            annotation |= {"bbox": [4, 4, 5, 4], "area": 20}

    data = make_coco(tmp_path / "d", small, train=10)
    begun(asked(data, tmp_path / "r", file, image_size=320, batch_size=2))
    assert f"Anchors as in {file} (0.2,0.95); others would fit more of the boxes: --anchors 0." in (
        capsys.readouterr().out
    )
    assert open_detector(tmp_path / "r").model.anchor_generator.scales == (0.2, 0.95)
    own = begun(asked(data, tmp_path / "own", "none", backbone="mobilenetv3_small_050", image_size=320, batch_size=2))
    said = capsys.readouterr().out
    assert f"Anchors are as the boxes: --anchors {own.read_config()['anchors']} (sides by" in said


def test_boxes_too_small_for_any_anchor_are_told(tmp_path, capsys):
    def tiny_ones(coco):
        for annotation in coco["annotations"]:
            annotation |= {"bbox": [4, 4, 1, 1], "area": 1}

    data = make_coco(tmp_path / "d", tiny_ones, train=10)
    begun(asked(data, tmp_path / "r", "none", backbone="mobilenetv3_small_050", image_size=64, batch_size=2))
    assert "no anchor is as small as the boxes to train on at --image-size 64: take larger" in capsys.readouterr().out


def test_names_that_are_the_same():
    assert same_names(["Cat", "cat"], ["cat", "Cat"]) == {0: 1, 1: 0}
    assert same_names(["CAT"], ["cat", "Cat"]) == {}  # it could be either
    assert same_names(["stop-sign", "potted  plant", "N/A"], ["stop sign", "potted plant", None, None]) == {0: 0, 1: 1}
    assert same_names(["cafe\u0301"], ["caf\u00e9"]) == {0: 0}


def test_weights_of_another_number_of_anchors(file):
    start = find_start(str(file))
    fewer = {
        name: value[: len(value) // 2] if ".classes.0.1." in name else value for name, value in start.state.items()
    }
    model = build_detector("mobilenetv3_large_100.reduced", "none", 2)
    with pytest.raises(UserError, match="other anchors"):
        load_start(model, replace(start, state=fewer), ["dog", "gnu"], "cross_entropy")
