"""Manifests as programs and people write them."""

import json

import pytest
from PIL import Image

from mixtransfer.data.load import load_dataset
from mixtransfer.data.split_file import Split
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


def test_an_image_that_is_listed_twice_counts_once_and_its_split_reads_back(folder, tmp_path):
    dataset = load(folder, PLAIN + PLAIN.partition("\n")[2])
    assert sum(map(len, dataset.parts.values())) == 12
    assert "12 images more than once in one part: each counts once." in " ".join(dataset.notes)
    dataset.split().write(tmp_path / "split.csv")
    again = load_dataset(str(folder / "m.csv"), split=Split.read(tmp_path / "split.csv"))
    assert again.test.images == dataset.test.images and not len(again.new)


def test_an_image_under_two_labels_is_refused(folder):
    with pytest.raises(UserError, match="m.csv lists 3.png twice, as 'cat' and as 'crane': take one out"):
        load(folder, PLAIN + "images/cat/3.png,crane\n")


def with_splits(*parts):
    rows = [f"{path},{label},{part}" for path, label in ROWS for part in parts]
    return "path,label,split\n" + "\n".join(rows) + "\n"


def test_an_image_in_two_parts_is_tested_on_only(folder):
    text = with_splits("train") + "images/cat/0.png,cat,test\nimages/crane/0.png,crane,val\n"
    dataset = load(folder, text)
    assert [path.parent.name for path in dataset.test.images] == ["cat"]
    assert [path.parent.name for path in dataset.val.images] == ["crane"] and len(dataset.train) == 10
    said = " ".join(dataset.notes)
    assert "is in both train and test (0.png for one), and counts as test." in said
    assert "is in both train and val (0.png for one), and counts as val." in said


def test_training_images_that_are_all_tested_on_are_refused(folder):
    text = with_splits("train", "test").replace("images/cat/5.png,cat,train\n", "")
    with pytest.raises(UserError, match="All training images of .* are in its other parts too"):
        load(folder, text)


def test_columns_of_json_lines_may_begin_in_any_row(folder):
    rows = [{"path": path, "label": label} for path, label in ROWS]
    for i, row in enumerate(rows[1:]):
        row |= {"group": f"g{i // 2}", "split": "test" if i > 8 else "train"}
    (folder / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match="the split is missing: write .* in every row, or in none"):
        load_dataset(str(folder / "m.jsonl"))
    rows[0] |= {"split": "train"}
    (folder / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = load_dataset(str(folder / "m.jsonl"))
    assert len(dataset.test) == 2 and any("11 images in 6 groups" in note for note in dataset.notes)


@pytest.mark.parametrize("written", ["images\\cat\\9.png", "C:\\d\\images\\cat\\9.png", "../images/cat/9.png"])
def test_a_missing_file_is_not_another_of_its_bare_name(folder, written):
    Image.new("RGB", (8, 8)).save(folder / "images" / "crane" / "9.png")
    if written.startswith(".."):
        with pytest.raises(UserError, match="lies outside of"):
            load(folder, PLAIN + f"{written},cat\n")
    else:
        dataset = load(folder, PLAIN + f"{written},cat\n")
        assert list(dataset.skipped.values()) == ["there is no such file"]
        assert sum(map(len, dataset.parts.values())) == 12
