"""Classification data as Hugging Face's imagefolder has it: `metadata.csv` or `.jsonl` beside the images."""

import csv
import json

import pytest
from PIL import Image

from mixtransfer.data.load import load_dataset
from mixtransfer.doctor.listing import list_data
from mixtransfer.errors import UserError

CARD = """---
dataset_info:
  features:
    - name: image
      dtype: image
    - name: label
      dtype:
        class_label:
          names:
            '0': zebra
            '1': ape
---
"""


@pytest.fixture
def folder(tmp_path):
    """24 images in one folder; of which kind they are, only metadata tells."""
    for i in range(24):
        (tmp_path / "d" / "images").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / "d" / "images" / f"{i}.png")
    return tmp_path / "d"


def write(path, rows):
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def labels_of(dataset):
    """Class name by file name, over all parts."""
    return {
        path.name: dataset.classes[label]
        for part in (dataset.train, dataset.val, dataset.test)
        for path, label in zip(part.images, part.labels, strict=True)
    }


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
@pytest.mark.parametrize("as_number", [False, True])
def test_labels_are_names_or_numbers_that_the_card_names(folder, name, as_number):
    truth = {f"{i}.png": ("zebra", "ape")[i % 2] for i in range(24)}
    if as_number:
        (folder / "README.md").write_text(CARD)
    rows = [{"file_name": f"images/{n}", "label": int(n[:-4]) % 2 if as_number else truth[n]} for n in truth]
    write(folder / name, rows)
    dataset = load_dataset(str(folder))
    assert labels_of(dataset) == truth
    # Numbers keep their order, which is that of a model trained elsewhere; names are sorted.
    assert dataset.classes == (["zebra", "ape"] if as_number else ["ape", "zebra"])
    assert any("metadata" in note for note in dataset.notes)
    listing = list_data(str(folder), "auto", folder)
    assert listing.task == "classify" and len(listing) == 24


def test_numbers_without_a_card_come_in_their_order(folder):
    write(folder / "metadata.jsonl", [{"file_name": f"images/{i}.png", "label": (2, 10)[i % 2]} for i in range(24)])
    dataset = load_dataset(str(folder))
    assert dataset.classes == ["2", "10"] and any("README.md names none" in note for note in dataset.notes)


def test_numbers_in_csv_without_a_card_are_names(folder):
    """Whose order is that of texts, as models have it that were trained so."""
    write(folder / "metadata.csv", [{"file_name": f"images/{i}.png", "label": (2, 10)[i % 2]} for i in range(24)])
    assert load_dataset(str(folder)).classes == ["10", "2"]


def test_parts_are_folders_with_metadata_of_their_own(folder):
    for part, numbers in (("train", range(16)), ("test", range(16, 22))):
        (folder / part).mkdir()
        for i in numbers:
            (folder / "images" / f"{i}.png").rename(folder / part / f"{i}.png")
        write(folder / part / "metadata.csv", [{"file_name": f"{i}.png", "label": "ab"[i % 2]} for i in numbers])
    dataset = load_dataset(str(folder))
    assert {path.name for path in dataset.test.images} == {f"{i}.png" for i in range(16, 22)}
    assert len(dataset.train) + len(dataset.val) == 16
    assert any("2 images that" in note and "does not name" in note for note in dataset.notes)


def test_a_column_may_say_the_part_and_the_group(folder):
    rows = [
        {"file_name": f"images/{i}.png", "label": "ab"[i % 2], "split": "test" if i > 17 else "train", "group": i // 2}
        for i in range(24)
    ]
    write(folder / "metadata.jsonl", rows)
    dataset = load_dataset(str(folder))
    assert {path.name for path in dataset.test.images} == {f"{i}.png" for i in range(18, 24)}
    for part in (dataset.train, dataset.val):  # groups of two are whole
        numbers = {int(path.stem) for path in part.images}
        assert numbers == {i ^ 1 for i in numbers}


def test_class_folders_with_captions_stay_class_folders(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(8):
            Image.new("RGB", (8, 8)).save(tmp_path / name / f"{i}.png")
    rows = [{"file_name": f"{name}/{i}.png", "text": "a picture"} for name in ("cat", "dog") for i in range(8)]
    write(tmp_path / "metadata.jsonl", rows)
    assert load_dataset(str(tmp_path)).classes == ["cat", "dog"]
    write(tmp_path / "metadata.jsonl", [{**row, "label": "xy"[i % 2]} for i, row in enumerate(rows)])
    assert load_dataset(str(tmp_path)).classes == ["x", "y"]
    assert load_dataset(str(tmp_path), layout="class").classes == ["cat", "dog"]


@pytest.mark.parametrize("text", ["a,b\n1,2,3\n", 'file_name,text\n"x\n', ""])
def test_metadata_of_something_else_is_nothing_to_class_folders(tmp_path, text):
    """However its rows may be."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(8):
            Image.new("RGB", (8, 8)).save(tmp_path / name / f"{i}.png")
    (tmp_path / "metadata.csv").write_text(text)
    assert load_dataset(str(tmp_path)).classes == ["cat", "dog"]


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl"])
def test_columns_under_other_names_are_told(folder, name):
    write(folder / name, [{"image": f"images/{i}.png", "class": "ab"[i % 2]} for i in range(24)])
    dataset = load_dataset(str(folder / name))
    assert len(labels_of(dataset)) == 24
    assert "Columns are read as: image as path, class as label." in dataset.notes


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"file_name": "images/0.png", "label": ["a;b"]}], "The label 'a;b' holds a ;, which stands"),
        ([{"file_name": "images/0.png", "labels": None}], "line 1: the labels are missing"),
        ([{"file_name": "images/0.png", "labels": []}], "has no label in any row"),
        ([{"file_name": "images/0.png", "label": {"a": 1}}], "line 1: the label is .* which is no text"),
        ([{"file_name": "../../etc/x.png", "label": "a"}], "line 1: .* lies outside of"),
        ([{"file_name": "images/0.png", "label": ""}], "line 1: the label is missing"),
        ([{"file_name": "images/0.png", "class": "a", "category": "b"}], "the columns class and category"),
        ([{"file_name": "images/0.png", "label": "a", "split": "exam"}], "the split is 'exam'"),
    ],
)
def test_bad_metadata_is_one_sentence(folder, rows, says):
    write(folder / "metadata.jsonl", rows)
    with pytest.raises(UserError, match=says):
        load_dataset(str(folder))


def test_two_tables_of_one_folder_are_asked_about(folder):
    rows = [{"file_name": f"{i}.png", "label": "ab"[i % 2]} for i in range(24)]
    for name in ("metadata.csv", "metadata.jsonl"):
        write(folder / "images" / name, rows)
    with pytest.raises(UserError, match=r"metadata\.\w+ both describe the images there: take one out"):
        load_dataset(str(folder))


TWO_COLUMNS = CARD.replace(
    "    - name: label\n",
    "    - name: season\n      dtype:\n        class_label:\n          names:\n            '0': summer\n"
    "            '1': winter\n    - name: label\n",
)


def test_names_are_those_of_the_column(folder):
    (folder / "README.md").write_text(TWO_COLUMNS)
    write(folder / "metadata.csv", [{"file_name": f"images/{i}.png", "label": i % 2} for i in range(24)])
    assert load_dataset(str(folder)).classes == ["zebra", "ape"]
    write(folder / "metadata.csv", [{"file_name": f"images/{i}.png", "class": i % 2} for i in range(24)])
    assert load_dataset(str(folder)).classes == ["0", "1"]


def test_a_card_that_names_them_in_two_ways_is_asked_about(folder):
    (folder / "README.md").write_text(TWO_COLUMNS.replace("season", "label"))
    write(folder / "metadata.csv", [{"file_name": f"images/{i}.png", "label": i % 2} for i in range(24)])
    with pytest.raises(UserError, match="of the column label in 2 ways: leave one"):
        load_dataset(str(folder))


def test_a_number_without_a_name_takes_no_names_from_the_others(folder):
    (folder / "README.md").write_text(CARD)
    write(folder / "metadata.csv", [{"file_name": f"images/{i}.png", "label": (0, 1, 10)[i % 3]} for i in range(24)])
    dataset = load_dataset(str(folder))
    assert dataset.classes == ["zebra", "ape", "10"]
    assert "Classes by number, since README.md names none: 1 (10 …)." in dataset.notes


@pytest.mark.parametrize("root_is_link", [False, True])
def test_links_lie_where_they_are_named(folder, tmp_path, root_is_link):
    """Their part is that of their own folder, as in a hub's cache."""
    for part, numbers in (("train", range(16)), ("test", range(16, 24))):
        (folder / part).mkdir()
        for i in numbers:
            (folder / part / f"{i}.png").symlink_to(f"../images/{i}.png")
        write(folder / part / "metadata.csv", [{"file_name": f"{i}.png", "label": "ab"[i % 2]} for i in numbers])
    data = folder
    if root_is_link:
        data = tmp_path / "link"
        data.symlink_to(folder)
    dataset = load_dataset(str(data))
    assert {path.relative_to(data).as_posix() for path in dataset.test.images} == {
        f"test/{i}.png" for i in range(16, 24)
    }
    assert any("24 images that" in note for note in dataset.notes)  # those in images/


@pytest.mark.parametrize("has_file", [True, False])
def test_a_test_part_whose_metadata_has_no_label_is_none(folder, has_file):
    for part, numbers in (("train", range(12)), ("val", range(12, 18)), ("test", range(18, 24))):
        (folder / part).mkdir()
        for i in numbers:
            (folder / "images" / f"{i}.png").rename(folder / part / f"{i}.png")
        label = {} if part == "test" else {"label": "a"}
        if part != "test" or has_file:
            rows = [{"file_name": f"{i}.png", **({"label": "ab"[i % 2]} if label else {"id": i})} for i in numbers]
            write(folder / part / "metadata.csv", rows)
    dataset = load_dataset(str(folder))
    said = " ".join(dataset.notes)
    assert {path.parent.name for path in dataset.val.images} == {"val"}, said
    assert {path.parent.name for path in dataset.test.images} == {"train"}
    assert "6 test images without a label" in said
