"""Manifests as programs and people write them."""

import pytest
from PIL import Image

from mixtransfer.data.load import load_dataset
from mixtransfer.errors import UserError

ROWS = [(f"images/{name}/{i}.png", name) for name in ("cat", "crane") for i in range(6)]
PLAIN = "path,label\n" + "".join(f"{path},{label}\n" for path, label in ROWS)


@pytest.fixture
def folder(tmp_path):
    for path, _ in ROWS:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / path)
    return tmp_path


def load(folder, text, encoding="utf-8"):
    (folder / "m.csv").write_bytes(text.encode(encoding))
    return load_dataset(str(folder / "m.csv"))


@pytest.mark.parametrize(
    ("text", "encoding", "words"),
    [
        (PLAIN, "utf-8", None),
        (PLAIN, "utf-8-sig", None),
        (PLAIN, "utf-16", None),
        (PLAIN.replace("path,label", " Path ,LABEL"), "utf-8", None),
        (PLAIN.replace(",", ";"), "utf-8", None),
        ("sep=;\r\n" + PLAIN.replace(",", ";"), "utf-8", None),
        (PLAIN.replace("\n", "\r\n") + ",\r\n\r\n", "utf-8", None),
        (PLAIN.replace("/", "\\"), "utf-8", "the end of their name: 12"),
        (PLAIN.replace(".png", ""), "utf-8", "another spelling of their name: 12"),
        (PLAIN.replace("images/", "https://example.org/media/images/"), "utf-8", "the end of their name: 12"),
    ],
)
def test_spellings_of_the_same_manifest(folder, text, encoding, words):
    dataset = load(folder, text, encoding)
    files = {*dataset.train.images, *dataset.val.images, *dataset.test.images}
    assert files == {folder / path for path, _ in ROWS} and dataset.classes == ["cat", "crane"]
    assert not words or words in " ".join(dataset.notes)


def test_a_comma_too_many_is_no_shorter_label(folder):
    text = PLAIN.replace(",crane", ",crane, bird")
    with pytest.raises(UserError, match=r"line 8 has 3 values, but the first line has 2 columns"):
        load(folder, text)
    assert load(folder, PLAIN.replace(",crane", ',"crane, bird"')).classes == ["cat", "crane, bird"]


def test_a_column_that_stands_twice_is_refused(folder):
    with pytest.raises(UserError, match="the column label twice"):
        load(folder, PLAIN.replace("path,label", "path,label,Label"))


def test_a_name_that_no_file_can_have_is_left_out_and_named(folder):
    dataset = load(folder, PLAIN + f"{'x' * 300}.png,cat\n")
    assert list(dataset.skipped.values()) == ["has too long a name"]


def test_a_way_up_and_down_again_is_a_path_like_others(folder):
    dataset = load(folder, PLAIN.replace("images/cat/", "images/crane/../cat/"))
    assert {path.parent.name for path in dataset.train.images} == {"cat", "crane"} and not dataset.skipped
    assert not any("end of their name" in note for note in dataset.notes)


@pytest.mark.parametrize("text", [PLAIN.replace("/", "\\"), PLAIN.replace(".png", "")])
def test_other_spellings_are_found_from_another_folder_too(folder, text, monkeypatch):
    """Whose path is relative."""
    (folder / "m.csv").write_text(text)
    monkeypatch.chdir(folder.parent)
    dataset = load_dataset(f"{folder.name}/m.csv")
    assert len(dataset.train) + len(dataset.val) + len(dataset.test) == 12 and not dataset.skipped
