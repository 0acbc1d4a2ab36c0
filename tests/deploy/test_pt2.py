"""What a stranger can put into a .pt2, by which torch.export.load would run code: none of it is opened, or run."""

import io
import json
import os
import pickle
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mixtransfer.deploy import pt2
from mixtransfer.deploy.exported import open_exported
from mixtransfer.deploy.operators import OPERATORS
from mixtransfer.errors import UserError

Members = list[tuple[str, bytes]]
EXAMPLE, PROGRAM, WEIGHTS = "data/sample_inputs/model.pt", "models/model.json", "data/weights/model_weights_config.json"


class Code:
    """An object that makes the folder "trap" of the working folder when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("trap",)


PICKLE = pickle.dumps(Code(), 2)
CALL = "__import__('os').mkdir('trap')"


@pytest.fixture
def opened(exports, tmp_path, monkeypatch) -> Callable:
    """Opens a .pt2 whose members were changed, and runs it."""
    whole = exports("torch")
    monkeypatch.chdir(tmp_path)

    def open_changed(change: Callable[[Members], object], frame: Callable[[bytes], bytes] = bytes, method: int = 0):
        with zipfile.ZipFile(whole) as archive:
            members = [(name.partition("/")[2], archive.read(name)) for name in archive.namelist()]
        change(members)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            for name, data in members:
                archive.writestr(f"model/{name}", data)
        Path("model.pt2").write_bytes(frame(buffer.getvalue()))
        return open_exported("model.pt2")(np.zeros((1, 32, 32, 3), np.uint8))

    return open_changed


def refused(opened: Callable, *arguments, why: str = "more than tensors and operators", **more) -> str:
    with pytest.raises(UserError, match=why) as caught:
        opened(*arguments, **more)
    assert not Path("trap").exists() and "\n" not in str(caught.value)
    return str(caught.value)


def added(name: str, at: int, data: bytes = PICKLE) -> Callable[[Members], None]:
    return lambda members: members.insert(at if at >= 0 else len(members), (name, data))


def replaced(name: str, data: bytes) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        members[[other for other, _ in members].index(name)] = (name, data)

    return change


def edited(name: str, edit: Callable[[dict], object]) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        document = json.loads(dict(members)[name])
        edit(document)
        replaced(name, json.dumps(document).encode())(members)

    return change


def nothing(_: object) -> None:
    pass


def test_what_export_wrote_is_opened(opened):
    assert opened(nothing)["logits"].shape == (1, 3)
    assert opened(list.reverse)["logits"].shape == (1, 3)


@pytest.mark.parametrize("at", [0, -1])
@pytest.mark.parametrize(
    "name",
    [
        "data/sample_inputs/model.PT",
        "data/Sample_Inputs/model.pt",
        "DATA/SAMPLE_INPUTS/MODEL.PT",
        "models/MODEL.json",
        EXAMPLE,
        PROGRAM,
        "data/weights/weight_0",
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_second_spelling_of_a_member(name, at, opened):
    """torch's own reader takes one for the other, and the first or the last."""
    refused(opened, added(name, at))


@pytest.mark.parametrize(
    "name",
    [
        "data/weights/model.pt",
        "data/constants/model.pt",
        "data/constants/custom_obj_0",
        "data/constants/opaque_obj_0",
        "data/aotinductor/model/x.so",
        "data/other/model.pt",
        "models/other.json",
        "code/__torch__.py",
        "constants.pkl",
        "../model/data/sample_inputs/model.pt",
        "data/../data/sample_inputs/model.pt",
        "data\\sample_inputs\\model.pt",
        "data//sample_inputs/model.pt",
        "data/sample_inputs/model.pt/",
        "data/weights/weight_\uff11",
        "",
    ],
)
def test_a_member_of_another_kind_or_in_another_folder(name, opened):
    refused(opened, added(name, 0))


@pytest.mark.parametrize("folder", ["other", "MODEL", "", "..", "model/model", "C:\\model"])
def test_a_member_beside_the_one_folder(folder, opened, monkeypatch):
    write = zipfile.ZipFile.writestr

    def elsewhere(archive, name, data):
        write(archive, f"{folder}/{EXAMPLE}" if name.endswith("inputs/model.pt") else name, data)

    monkeypatch.setattr(zipfile.ZipFile, "writestr", elsewhere)
    refused(opened, nothing)


def _flagged(data: bytes) -> bytes:
    """The last member is marked as encrypted."""
    data = bytearray(data)
    data[data.rindex(b"PK\1\2") + 8] |= 1
    data[data.rindex(b"PK\3\4") + 6] |= 1
    return bytes(data)


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (lambda data: b"x" + data, "something before its beginning"),
        (lambda data: data + b"x", "something after its end"),
        (lambda data: data[:-2] + struct.pack("<H", 3) + b"abc", "something after its end"),
        (lambda data: data + data, "something before its beginning"),
        (_flagged, "compressed or encrypted"),
        (lambda data: data.replace(b"sample_inputs/model.pt", b"sample_inputs/model.PT", 1), "damaged"),
        (lambda data: data.replace(b"sample_inputs/model.pt", b"sample_inputs/model.PT"), "more than tensors"),
        (lambda data: data[:-200], "something (before its beginning|after its end)"),  # the end of the archive in it
        (lambda data: data[:20] + data[21:], "damaged|before its beginning"),
    ],
)
def test_an_archive_that_could_be_read_in_two_ways(frame, says, opened):
    refused(opened, nothing, frame, why=says)


def test_a_compressed_archive(opened):
    refused(opened, nothing, method=zipfile.ZIP_DEFLATED, why="compressed or encrypted")


def _pickled(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("data", [PICKLE, _pickled(Code()), _pickled((print,)), b"x"])
def test_example_inputs_that_are_objects(data, opened):
    refused(opened, replaced(EXAMPLE, data))


def test_example_inputs_are_never_unpickled(opened, exports, monkeypatch):
    with exports("torch").open("rb") as file:
        archive, _ = pt2.plain_archive(file)
    with zipfile.ZipFile(archive) as plain:
        assert plain.read(f"model/{EXAMPLE}") == b"" and b"stack_trace" not in plain.read(f"model/{PROGRAM}")
    monkeypatch.setattr(torch, "load", None)
    assert opened(nothing)["logits"].shape == (1, 3)


def _renamed(old: str, new: str) -> Callable[[Members], None]:
    """A name in the graph that FX would write into source code."""

    def change(members: Members) -> None:
        for name in (PROGRAM, WEIGHTS):
            text = dict(members)[name].replace(json.dumps(old).encode(), json.dumps(new).encode())
            replaced(name, text)(members)

    return change


def _expressed(new: str) -> Callable[[Members], None]:
    """The sizes in the graph are another expression, which sympy would evaluate."""

    def change(members: Members) -> None:
        text = re.sub(rb'"expr_str": "[^"]*"', f'"expr_str": "{new}"'.encode(), dict(members)[PROGRAM])
        replaced(PROGRAM, text)(members)

    return change


def _graph(program: dict) -> dict:
    return program["graph_module"]["graph"]


def _signature(program: dict) -> dict:
    return program["graph_module"]["module_call_graph"][0]["signature"]


ENUM = json.dumps([1, {"type": "builtins.dict", "context": '[{"__enum__": true, "fqn": "a:b"}]', "children_spec": []}])

PROGRAMS = {
    "guards": edited(PROGRAM, lambda program: program["guards_code"].append(f"({CALL}, True)[1]")),
    "argument": _renamed("images", f"images=({CALL}, 1)[1]"),
    "two lines": _renamed("conv2d", f"x\n  {CALL}\n  y"),
    "attribute": _renamed("model.classifier.bias", f'model.x"), {CALL}, getattr(self, "x'),
    "dunder": _renamed("model.classifier.bias", "model.__class__.bias"),
    "function": _renamed("torch.ops.aten.conv2d.default", "torch.os.mkdir"),
    "file": _renamed("torch.ops.aten.conv2d.default", "torch.ops.aten.from_file.default"),
    "memory": _renamed("torch.ops.aten.conv2d.default", "torch.ops.aten.as_strided.default"),
    "graph": _renamed("torch.ops.aten.conv2d.default", "torch.ops.higher_order.wrap_with_autocast"),
    "input tree": edited(PROGRAM, lambda program: _signature(program).update(in_spec=ENUM)),
    "output tree": edited(PROGRAM, lambda program: _signature(program).update(out_spec=ENUM)),
    "expression": _expressed(CALL),
    "power": _expressed("9**9**9"),
    "symbol": edited(PROGRAM, lambda program: program["range_constraints"].update(u99999999={"min_val": 0})),
    "object": edited(PROGRAM, lambda program: _graph(program)["custom_obj_values"].update(x={"class_fqn": "a"})),
    "operator": edited(
        PROGRAM, lambda program: _graph(program)["nodes"][0]["inputs"][3].update(arg={"as_operator": "torch.os.mkdir"})
    ),
    "device": edited(PROGRAM, lambda program: _graph(program)["tensor_values"]["images"]["device"].update(type="cuda")),
    "unknown": edited(PROGRAM, lambda program: program.update(more=1)),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_graph_that_is_more_than_operators(name, opened):
    refused(opened, PROGRAMS[name])


def _payload(**changes: object) -> Callable[[Members], None]:
    return edited(WEIGHTS, lambda config: config["config"]["model.conv_stem.weight"].update(changes))


@pytest.mark.parametrize(
    "change",
    [
        _payload(use_pickle=True),
        _payload(use_pickle=1),
        _payload(path_name="custom_obj_0"),
        _payload(path_name="../weights/weight_0"),
        _payload(path_name="weight_9999"),
        replaced("data/weights/weight_0", b""),
    ],
)
def test_weights_that_are_more_than_their_values(change, opened):
    refused(opened, change)


@pytest.mark.parametrize("name", [PROGRAM, WEIGHTS, "data/constants/model_constants_config.json"])
def test_without_a_part(name, opened):
    refused(opened, lambda members: members.remove((name, dict(members)[name])))


def test_a_graph_too_large_to_read(opened, monkeypatch):
    monkeypatch.setattr(pt2, "LARGEST_TEXT", 100_000)
    refused(opened, nothing, why="model.json of")


def test_operators_are_those_of_networks():
    """All are known to torch, and none takes a text that could name a file or an address."""
    import torchvision  # noqa: F401 (its operators)

    texts = set()
    for name in OPERATORS:
        if name.startswith("torch.ops."):
            _, _, space, operator, overload = name.split(".")
            schema = getattr(getattr(getattr(torch.ops, space), operator), overload)._schema
            texts |= {argument.name for argument in schema.arguments if "str" in str(argument.type)}
    assert texts == {"assert_msg", "padding", "rounding_mode", "equation", "approximate", "indexing", "mode"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"classes": ["cat", "dog"]}, "answers something else"),
        ({"classes": ["cat", "dog", 3]}, "of the wrong kind"),
        ({"classes": "abc"}, "of the wrong kind"),
        ({"outputs": ["boxes"]}, "of the wrong kind"),
        ({"inside": 0}, "of the wrong kind"),
        ({"inside": True}, "its graph fails"),
        ({"task": "detection", "outputs": ["logits", "deltas", "anchors"]}, "cannot be read"),
        ({"task": "other"}, "another version"),
        ({"preprocessing": {"size": 32, "mean": ["0.5", 0.5, 0.5], "std": [1, 1, 1]}}, "cannot be read"),
    ],
)
def test_a_description_that_does_not_fit(changes, says, opened):
    refused(opened, edited("extra/mixtransfer.json", lambda description: description.update(changes)), why=says)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["mixnet_s", "resnet18", "efficientnet_lite0", "convnext_atto", "deit_tiny_patch16_224"]
)
def test_networks_of_many_kinds_are_opened(name, tmp_path):
    from mixtransfer.backbones import create_backbone
    from mixtransfer.data.preprocessing import Preprocessing
    from mixtransfer.deploy.metadata import Metadata
    from mixtransfer.deploy.network import ExportClassifier
    from mixtransfer.deploy.runtimes import FILE_RUNTIMES

    model = create_backbone(name, weights="none", num_classes=2).eval()
    preprocessing = Preprocessing.of(model)
    network = ExportClassifier(model, preprocessing, False, FILE_RUNTIMES["torch"].rule("avx2")).eval()
    metadata = Metadata("classification", name, ["a", "b"], preprocessing, False, ["logits"])
    FILE_RUNTIMES["torch"].write(network, metadata, tmp_path / "model.pt2")
    images = torch.randn(2, 3, preprocessing.size, preprocessing.size)
    (found,) = open_exported(tmp_path / "model.pt2").run(images.numpy())
    with torch.inference_mode():
        torch.testing.assert_close(torch.from_numpy(found), model(images), atol=1e-3, rtol=1e-3)
