"""Backbone files: timm's notation, and nothing that could run."""

import json

import pytest
import torch

from mixtransfer.backbones import Architecture, backbone_spec, count_macs, create_backbone
from mixtransfer.backbones.architecture import Block
from mixtransfer.errors import UserError

# timm's own definition of mixnet_s.
MIXNET_S = [
    ["ds_r1_k3_s1_e1_c16"],
    ["ir_r1_k3_a1.1_p1.1_s2_e6_c24", "ir_r1_k3_a1.1_p1.1_s1_e3_c24"],
    ["ir_r1_k3.5.7_s2_e6_c40_se0.5_nsw", "ir_r3_k3.5_a1.1_p1.1_s1_e6_c40_se0.5_nsw"],
    ["ir_r1_k3.5.7_p1.1_s2_e6_c80_se0.25_nsw", "ir_r2_k3.5_p1.1_s1_e6_c80_se0.25_nsw"],
    ["ir_r1_k3.5.7_a1.1_p1.1_s1_e6_c120_se0.5_nsw", "ir_r2_k3.5.7.9_a1.1_p1.1_s1_e3_c120_se0.5_nsw"],
    ["ir_r1_k3.5.7.9.11_s2_e6_c200_se0.5_nsw", "ir_r2_k3.5.7.9_p1.1_s1_e6_c200_se0.5_nsw"],
]
WHOLE = {"format": 1, "name": "mine", "stem": 16, "blocks": MIXNET_S, "head": 1536, "image_size": 224}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({**WHOLE, "about": {"anything": [1, "more"]}}))
    return path


def test_a_file_of_mixnet_s_is_mixnet_s(file):
    with torch.device("meta"):
        ours, theirs = create_backbone(str(file), "none", 7), create_backbone("mixnet_s", "none", 7)
        maps = create_backbone(str(file), "none", features_only=True)
    shapes = [{name: value.shape for name, value in model.state_dict().items()} for model in (ours, theirs)]
    assert shapes[0] == shapes[1] and [type(m) for m in ours.modules()] == [type(m) for m in theirs.modules()]
    assert maps.feature_info.reduction() == [2, 4, 8, 16, 32] and maps.feature_info.channels()[-1] == 200
    architecture = backbone_spec(str(file)).architecture
    for size in (224, 97):
        assert architecture.macs(size, 7) == count_macs(theirs, (3, size, size))


def test_block_strings_are_written_as_they_are_read():
    for text in [text for stage in MIXNET_S for text in stage] + ["ir_r1_k9_s1_e1_c8_noskip"]:
        assert str(Block.parse(text)) == text


def test_a_file_has_no_published_weights(file):
    with pytest.raises(UserError, match="no ImageNet weights of mine: train it from scratch"):
        create_backbone(str(file))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"blocks": [["ir_r1_k3_s1_e6_c16_x9"]]}, "is no block string"),
        ({"blocks": [["ir_r1_k4_s1_e6_c16"]]}, "is no block string"),
        ({"blocks": [["ir_r1_k3_s1_se6_c16"]]}, "is no block string"),
        ({"blocks": [["ir_r1_k3_s1_c16"]]}, "is no block string"),
        ({"blocks": [["__import__('os')"]]}, "is no block string"),
        ({"blocks": [["ir_r99_k3_s1_e6_c16"] * 3]}, "more than 200 blocks"),
        ({"blocks": [["ir_r99_k3_s1_e10_c4096"]]}, "more than 1,000,000,000 weights"),
        ({"blocks": [["ds_r1_k3.5.7.9_s1_c16"]], "stem": 2}, "too few for 4 equal MixConv groups"),
        ({"blocks": []}, "blocks is no list of stages"),
        ({"blocks": [[["ir"]]]}, "a block is no text"),
        ({"stem": 10**9}, "stem is no whole number between 1 and 512"),
        ({"head": True}, "head is no whole number"),
        ({"name": "../../x"}, "name is not of 1 to 60 letters"),
        ({"format": 2}, "format is of a newer version"),
        ({"code": "x"}, "unknown key 'code'"),
    ],
)
def test_a_damaged_or_hostile_file_gets_one_sentence(tmp_path, change, says):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({**WHOLE, **change}))
    with pytest.raises(UserError) as caught:
        backbone_spec(str(path))
    assert says in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"[1]", b"\xff\xfe", b"[" * 100_000, b" " * 2**21, b'{"format": 1}'])
def test_what_is_no_description_gets_one_sentence(tmp_path, data):
    path = tmp_path / "mine.json"
    path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        backbone_spec(str(path))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="backbone file .*nowhere.json does not exist"):
        backbone_spec(str(tmp_path / "nowhere.json"))


def test_what_is_written_is_read_again():
    architecture = Architecture.from_dict(WHOLE, "here")
    assert Architecture.from_dict(json.loads(json.dumps(architecture.to_dict())), "there") == architecture
