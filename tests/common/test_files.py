"""Folders that are put in place whole."""

from pathlib import Path

import pytest

from mixtransfer.classification.options import TrainOptions
from mixtransfer.common.files import move_folder, remove_unfinished
from mixtransfer.runs.run import new_folder


def folder(path: Path, text: str) -> Path:
    (path / "inner").mkdir(parents=True)
    (path / "inner" / "file").write_text(text)
    return path


def test_a_folder_takes_the_place_of_another(tmp_path):
    target = folder(tmp_path / "target", "old")
    (target / "more").touch()
    move_folder(folder(tmp_path / "made", "new"), target)
    assert (target / "inner" / "file").read_text() == "new" and not (target / "more").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"made", "target"}


def test_what_was_there_stays_if_it_fails(tmp_path, monkeypatch):
    target, made = folder(tmp_path / "target", "old"), folder(tmp_path / "made", "new")
    replace = Path.replace

    def full(self, other):
        if self.name == "new":
            raise OSError("the disk is full")
        return replace(self, other)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="full"):
        move_folder(made, target)
    assert (target / "inner" / "file").read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"made", "target"}


def test_half_a_folder_of_a_killed_process_is_removed(tmp_path):
    folder(tmp_path / ".model.mlpackage.x.tmp", "half")
    (tmp_path / ".model.json.y.tmp").touch()
    folder(tmp_path / "kept", "whole")
    remove_unfinished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_two_trainings_that_begin_at_once_take_different_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = TrainOptions("animals", "mixnet_s")
    assert [new_folder(options) for _ in range(2)] == [Path("runs/animals-mixnet_s"), Path("runs/animals-mixnet_s-2")]
    monkeypatch.chdir(tmp_path / "runs" / "animals-mixnet_s")
    Path("runs").touch()
    assert new_folder(options) == Path("runs/animals-mixnet_s")  # whoever writes to it says what is wrong
