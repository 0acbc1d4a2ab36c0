"""What "hf:…" names, and the folder that it is written to."""

import os

import pytest

from mixtransfer.data.packed_source import Source, is_packed
from mixtransfer.errors import UserError


def test_a_name_may_say_the_configuration_and_the_column(tmp_path):
    assert is_packed("hf:a/b") and not is_packed("a/b")
    assert Source.parse("hf:a/b") == Source("a/b")
    assert Source.parse("hf:a/b@c#d") == Source("a/b", "c", "d")
    assert Source.parse("hf:a/b#d") == Source("a/b", None, "d")
    (tmp_path / "x@y").mkdir()
    assert Source.parse(f"hf:{tmp_path / 'x@y'}#d") == Source(str(tmp_path / "x@y"), None, "d")
    for nothing in ("hf:", "hf: ", "hf:#c", "hf:@c"):
        with pytest.raises(UserError, match="names no data set"):
            Source.parse(nothing)


def test_no_two_data_sets_are_written_to_one_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "local").mkdir()
    (tmp_path / "other" / "local").mkdir(parents=True)
    names = ["a/b-c", "a-b/c", "a/b@c", "a/b#c", "a/b@c#d", "a/b@c-d", "a/b", "a-b", "b", "a/b.c"]
    names += ["local", "local#c", "local#d", "other/local"]
    folders = [Source.parse(f"hf:{name}").folder for name in names]
    assert len(set(folders)) == len(names) and not any("/" in folder for folder in folders)
    assert folders[names.index("a/b")] == "a-b" and folders[names.index("b")] == "b"
    assert Source.parse(f"hf:{tmp_path / 'local'}").folder == folders[names.index("local")]


@pytest.fixture
def state(tmp_path):
    (tmp_path / "d" / "data").mkdir(parents=True)
    (tmp_path / "d" / "data" / "train.parquet").write_bytes(b"one")
    os.utime(tmp_path / "d" / "data" / "train.parquet", ns=(0, 1))
    return lambda: Source.parse(f"hf:{tmp_path / 'd'}").state(tmp_path / "d" / "hf")


@pytest.mark.parametrize("name", ["hf/x/a.png", "runs/r/metrics.json", "runs/doctor/doctor.json", ".cache/x", ".lock"])
def test_what_commands_write_into_a_folder_is_no_change_of_it(state, tmp_path, name):
    before = state()
    (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "d" / name).write_text("x")
    assert state() == before


@pytest.mark.parametrize(
    "change",
    [
        lambda d: (d / "data" / "more.parquet").write_text("x"),
        lambda d: (d / "data" / "train.parquet").rename(d / "data" / "test.parquet"),
        lambda d: os.utime(d / "data" / "train.parquet", ns=(0, 2)),
        lambda d: (
            (d / "data" / "train.parquet").write_bytes(b"two!") and os.utime(d / "data" / "train.parquet", ns=(0, 1))
        ),
        lambda d: (d / "runs").mkdir() or (d / "runs" / "x.tar").write_text("x"),
    ],
)
def test_any_other_file_is_a_change(state, tmp_path, change):
    before = state()
    change(tmp_path / "d")
    assert state() != before


def test_what_the_hub_has_has_no_state(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Source.parse("hf:a/b").state(tmp_path) is None
    assert Source.parse("hf:a/b").place == "a/b"
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert Source.parse("hf:a/b").place == str(tmp_path / "a" / "b")
