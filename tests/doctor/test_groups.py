"""Groups: how many, torn between parts, or holding all of a class."""

import json

import pytest
from folders import make_folder

from mixtransfer.commandline.cli import main


def doctor(capsys, tmp_path, *words):
    code = main(["doctor", *map(str, words), "--json", "--output", str(tmp_path / "out")])
    out, err = capsys.readouterr()
    return code, {f["kind"]: f for f in json.loads(out)["findings"]} if out else {}, err


def test_groups_are_counted_and_the_torn_ones_named(tmp_path, capsys):
    make_folder(tmp_path / "d" / "train", {"a": 12, "b": 12}, size=16)
    make_folder(tmp_path / "d" / "test", {"a": 3, "b": 3}, size=16, seed=1)
    _, found, _ = doctor(capsys, tmp_path, tmp_path / "d", "--group-by", r"[ab]/\d+")
    assert found["groups"]["what"] == "30 images in 24 groups, 0 in none."
    assert found["torn_groups"]["what"] == "6 groups have images in more than one part."
    assert found["torn_groups"]["places"][0]["text"] == "a/000: 1 test, 1 train"
    assert "class_in_one_group" not in found


def test_groups_of_a_manifest(tmp_path, capsys):
    folder = make_folder(tmp_path / "d", {"a": 12, "b": 12}, size=16)
    rows = [f"{name}/{i:03}.jpg,{name},{name if name == 'a' else i // 2}" for name in "ab" for i in range(12)]
    (folder / "m.csv").write_text("path,label,group\n" + "\n".join(rows))
    code, found, _ = doctor(capsys, tmp_path, folder / "m.csv")
    assert code == 1 and found["groups"]["what"] == "24 images in 7 groups, 0 in none."
    assert [place["text"] for place in found["class_in_one_group"]["places"]] == ["a: a"]


def test_without_groups_nothing_is_said(image_folder, tmp_path, capsys):
    _, found, _ = doctor(capsys, tmp_path, image_folder)
    assert not found.keys() & {"groups", "torn_groups", "class_in_one_group"}


@pytest.mark.parametrize(("data", "says"), [("", "matches none of the 36 paths"), ("digits", "is for images in files")])
def test_a_pattern_that_matches_nothing(image_folder, tmp_path, capsys, data, says):
    code, _, err = doctor(capsys, tmp_path, data or image_folder, "--group-by", "patient")
    assert code == 2 and says in err and err.count("\n") == 1
