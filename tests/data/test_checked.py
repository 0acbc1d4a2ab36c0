"""Files are decoded once, and again when they have changed."""

import errno
import os

import pytest
from PIL import Image

from mixtransfer.data import images
from mixtransfer.data.checked import Checked, states_of
from mixtransfer.data.images import find_unusable


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MIXTRANSFER_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def decoded(monkeypatch) -> list:
    """The files that have been decoded."""
    found, decode = [], images.load_image

    def count(path, min_side=None):
        found.append(path)
        return decode(path, min_side)

    monkeypatch.setattr(images, "load_image", count)
    return found


def make(folder, *names):
    paths = [folder / name for name in names]
    for path in paths:
        Image.new("RGB", (8, 8)).save(path)
    return paths


def test_a_second_start_decodes_only_what_is_new_or_has_changed(tmp_path, decoded):
    paths = make(tmp_path, "a.png", "b.png")
    (tmp_path / "c.png").write_text("no image")
    paths.append(tmp_path / "c.png")
    first = find_unusable(paths, progress=False)
    assert list(first) == [tmp_path / "c.png"] and sorted(decoded) == paths
    decoded.clear()
    assert find_unusable(paths, progress=False) == first and decoded == []
    paths += make(tmp_path, "d.png")
    (tmp_path / "a.png").write_text("overwritten")
    assert set(find_unusable(paths, progress=False)) == {tmp_path / "a.png", tmp_path / "c.png"}
    assert sorted(decoded) == [tmp_path / "a.png", tmp_path / "d.png"]


def test_a_file_of_the_same_size_but_another_time_is_decoded_again(tmp_path, decoded):
    (path,) = make(tmp_path, "a.png")
    find_unusable([path], progress=False)
    os.utime(path, ns=(0, 12345))
    find_unusable([path], progress=False)
    assert decoded == [path, path]


def test_a_file_that_is_gone_is_told_and_not_remembered(tmp_path, decoded):
    (path,) = make(tmp_path, "a.png")
    path.unlink()
    assert find_unusable([path], progress=False) == {path: "there is no such file"}
    make(tmp_path, "a.png")
    assert find_unusable([path], progress=False) == {}


def test_names_that_are_no_text_are_remembered(tmp_path, decoded):
    name = os.fsdecode(b"\xff.png")
    paths = make(tmp_path, name)
    find_unusable(paths, progress=False)
    find_unusable(paths, progress=False)
    assert len(decoded) == 1


def test_without_a_place_to_remember_all_is_decoded(tmp_path, decoded, monkeypatch):
    paths = make(tmp_path, "a.png")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MIXTRANSFER_CACHE", str(tmp_path / "file"))
    assert find_unusable(paths, progress=False) == find_unusable(paths, progress=False) == {}
    assert len(decoded) == 2


def test_a_damaged_cache_is_begun_anew(tmp_path):
    paths = make(tmp_path, "a.png")
    checked = Checked()
    checked.file.parent.mkdir(parents=True)
    checked.file.write_bytes(b"no database" * 100)
    assert find_unusable(paths, progress=False) == {} and checked.known(states_of(paths)) == {paths[0]: (None,)}


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.EACCES])
def test_what_the_system_refuses_once_is_not_remembered_of_the_file(tmp_path, monkeypatch, number):
    paths = make(tmp_path, "a.png")

    def refused(*_args, **_named):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(images.Image, "open", refused)
        (reason,) = find_unusable(paths, progress=False).values()
        assert "denied" in reason if number == errno.EACCES else os.strerror(number) in reason
    assert find_unusable(paths, progress=False) == {}


def test_a_file_of_another_size_but_the_same_time_is_decoded_again(tmp_path, decoded):
    (path,) = make(tmp_path, "a.png")
    os.utime(path, ns=(0, 12345))
    find_unusable([path], progress=False)
    path.write_bytes(path.read_bytes() + b" ")
    os.utime(path, ns=(0, 12345))
    find_unusable([path], progress=False)
    assert decoded == [path, path]
