"""A split that is kept: it reads back, and whatever becomes of the folder, no image changes its part."""

import shutil

import numpy as np
import pytest
from folders import make_folder
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mixtransfer.data.load import load_dataset
from mixtransfer.data.split_file import Split, digest
from mixtransfer.errors import UserError


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "d", {"cat": 20, "dog": 20}, size=16)


@pytest.fixture
def kept(folder, tmp_path):
    load_dataset(str(folder)).split().write(tmp_path / "split.csv")
    return Split.read(tmp_path / "split.csv")


def pixels(examples):
    return {np.asarray(examples.image(i)).tobytes() for i in range(len(examples))}


def test_it_gives_the_parts_that_were_drawn(folder, kept):
    before, after = load_dataset(str(folder)), load_dataset(str(folder), split_seed=9, test_fraction=0.5, split=kept)
    for part in ("train", "val", "test"):
        assert before.parts[part].images == after.parts[part].images
        assert (before.parts[part].labels == after.parts[part].labels).all()
    assert not len(after.new) and not after.notes


def test_its_columns_are_for_others_too(kept, tmp_path):
    header, *rows = (tmp_path / "split.csv").read_text().splitlines()
    assert header.startswith("path,label,part,group") and len(rows) == 40
    path, label, part, group, _ = rows[0].split(",")
    assert path == "cat/000.jpg" and label == "cat" and part in ("train", "val", "test") and group == ""


TEXT = st.text(st.characters(exclude_characters="\0"), max_size=8)


@given(
    st.lists(
        st.tuples(TEXT, TEXT, st.sampled_from(["train", "val", "test"]), TEXT),
        min_size=1,
        unique_by=lambda row: row[0].encode("utf-8", "replace"),
    )
)
def test_any_name_reads_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("s") / "split.csv"
    names, labels, parts, groups = zip(*((f"x{name}", *rest) for name, *rest in rows), strict=True)
    names = [name.encode("utf-8", "replace").decode() + "\udcff" for name in names]  # a byte that is no UTF-8
    labels, groups = ([one.encode("utf-8", "replace").decode() for one in column] for column in (labels, groups))
    split = Split(names, labels, parts, groups)
    split.write(path)
    again = Split.read(path)
    assert [list(getattr(again, key)) for key in ("names", "labels", "parts", "groups")] == [
        names, labels, list(parts), groups,
    ]  # fmt: skip


def test_new_and_changed_images_are_told(folder, kept):
    """The new ones are in no part, the changed ones in their own."""
    make_folder(folder, {"cat": 0, "dog": 23}, size=16, seed=5)
    dataset = load_dataset(str(folder), split=kept)
    assert {path.name for path in dataset.new.images} == {"020.jpg", "021.jpg", "022.jpg"}
    assert sum(map(len, (dataset.train, dataset.val, dataset.test))) == 40
    assert "3 images of the data came after the split and are in no part." in dataset.notes
    assert "20 images changed since the split (dog/000.jpg for one)." in dataset.notes


def test_missing_images_are_told_and_the_others_stay(folder, kept):
    before = load_dataset(str(folder))
    gone = [before.parts[part].images[0] for part in ("train", "train", "val", "test")]
    for path in set(gone):
        path.unlink()
    after = load_dataset(str(folder), split=kept)
    for part in ("train", "val", "test"):
        assert set(after.parts[part].images) == set(before.parts[part].images) - set(gone)
    assert any(
        note.startswith("3 images of the split are missing and left out: 1 to train on, 1 to validate, 1 to test")
        for note in after.notes
    )


def test_a_file_that_cannot_be_used_any_more_is_missing(folder, kept):
    (folder / "cat" / "000.jpg").write_text("no image")
    dataset = load_dataset(str(folder), split=kept)
    assert any("1 image of the split is missing" in note for note in dataset.notes) and len(dataset.skipped) == 1


@given(st.permutations(range(10)), st.sets(st.integers(0, 9), max_size=5))
def test_whatever_names_files_get_no_image_changes_its_part(tmp_path_factory, order, removed):
    """As when images are removed and the rest is numbered again."""
    root = make_folder(tmp_path_factory.mktemp("d"), {"cat": 10, "dog": 5}, size=8)
    before = load_dataset(str(root), test_fraction=0.4)
    file = root / "split.csv"
    before.split().write(file)
    moved = tmp_path_factory.mktemp("e")
    for name in ("cat", "dog"):
        shutil.copytree(root / name, moved / name)
    for i in range(10):
        (moved / "cat" / f"{i:03}.jpg").unlink()
    for i, place in enumerate(order):
        if i not in removed:
            shutil.copy(root / "cat" / f"{i:03}.jpg", moved / "cat" / f"{place:03}.jpg")
    after = load_dataset(str(moved), split=Split.read(file))
    for part in ("train", "val", "test"):
        assert pixels(after.parts[part]) <= pixels(before.parts[part])
    assert sum(map(len, after.parts.values())) == 15 - len(removed) and not len(after.new)


def test_a_copy_of_a_test_image_is_no_training_image(folder, kept):
    before = load_dataset(str(folder))
    test, train = before.test.images[0], before.train.images[0]
    shutil.copy(test, train)
    shutil.copy(test, test.with_name("copy.jpg"))
    after = load_dataset(str(folder), split=kept)
    assert not pixels(after.train) & pixels(before.test)
    assert len(after.new) == 2 and len(after.train) == len(before.train) - 1


def test_a_new_label_is_taken_and_told(folder, tmp_path):
    rows = [f"{name}/{i:03}.jpg,{name}" for name in ("cat", "dog") for i in range(20)]
    manifest = folder / "m.csv"
    manifest.write_text("path,label\n" + "\n".join(rows))
    before = load_dataset(str(manifest))
    before.split().write(tmp_path / "split.csv")
    manifest.write_text("path,label\ncat/000.jpg,dog\n" + "\n".join(rows[:0:-1]))
    after = load_dataset(str(manifest), split=Split.read(tmp_path / "split.csv"))
    assert "1 image of the split has another label now (cat/000.jpg: dog, was cat)." in after.notes
    for part in ("train", "val", "test"):  # in the order of the split, not of the manifest
        assert after.parts[part].images == before.parts[part].images


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: (d / "cat").rename(d / "kitten"), "'kitten' is new and 'cat' is gone; change that back"),
        (lambda d: make_folder(d, {"emu": 3}), "has other classes than the run was trained with: 'emu' is new;"),
        (lambda d: shutil.rmtree(d / "dog"), "'dog' is gone;"),
        (lambda d: [p.unlink() for p in (d / "dog").iterdir()], "has lost all images that the class 'dog'"),
        (
            lambda d: [Image.new("RGB", (9, 9), (i, 0, 0)).save(p.with_name(f"n{p.name}")) or p.unlink()
                       for i, p in enumerate(sorted(d.rglob("*.jpg")))],
            "None of the images of .*split.csv is in",
        ),
    ],
)  # fmt: skip
def test_other_classes_or_images_are_refused_by_name(folder, kept, change, says):
    change(folder)
    with pytest.raises(UserError, match=says) as caught:
        load_dataset(str(folder), split=kept)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "needs the columns path, label, part, group"),
        ("path,label,part\na,b,train\n", "needs the columns path, label, part, group"),
        ("path,label,part,group\n", "it names no image"),
        ("path,label,part,group\na,b,train,\na,b,holdout,\n", "is damaged in line 3"),
        ("path,label,part,group\na,b,train\n", "is damaged in line 2"),
        ("path,label,part,group\na,b,train,,x,y\n", "is damaged in line 2"),
        ('path,label,part,group\n"a,b,train,\n', "is damaged"),
    ],
)
def test_a_damaged_file_gets_one_sentence(tmp_path, text, says):
    (tmp_path / "split.csv").write_text(text)
    with pytest.raises(UserError, match=says) as caught:
        Split.read(tmp_path / "split.csv")
    assert "train anew" in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_without_digests_goes_by_names(folder, kept, tmp_path):
    lines = [line.rpartition(",")[0] for line in (tmp_path / "split.csv").read_text().splitlines()]
    (tmp_path / "split.csv").write_text("\n".join(lines))
    dataset = load_dataset(str(folder), split=Split.read(tmp_path / "split.csv"))
    assert dataset.test.images == load_dataset(str(folder)).test.images


def test_images_without_files_go_by_position(tmp_path):
    before = load_dataset("digits")
    before.split().write(tmp_path / "split.csv")
    after = load_dataset("digits", split_seed=4, split=Split.read(tmp_path / "split.csv"))
    assert (before.test.images == after.test.images).all() and "all/0" in Split.read(tmp_path / "split.csv").names


def test_known_files_are_told_wherever_they_lie(folder, kept, tmp_path):
    dataset = load_dataset(str(folder))
    shutil.copy(dataset.test.images[0], tmp_path / "a.jpg")
    shutil.copy(dataset.val.images[0], tmp_path / "b.jpg")
    Image.new("RGB", (9, 9)).save(tmp_path / "c.jpg")
    assert kept.known([tmp_path / f"{name}.jpg" for name in "abc"]) == ["test", "val", ""]


def test_names_that_differ_in_the_composition_of_their_letters_read_back(folder, tmp_path):
    for name, colour in (("caf\u00e9.png", "red"), ("cafe\u0301.png", "blue")):
        Image.new("RGB", (9, 9), colour).save(folder / "cat" / name)
    if len({path.name for path in (folder / "cat").glob("caf*")}) < 2:
        pytest.skip("they are one name here")
    before = load_dataset(str(folder))
    before.split().write(tmp_path / "split.csv")
    after = load_dataset(str(folder), split=Split.read(tmp_path / "split.csv"))
    assert [part.images for part in after.parts.values()] == [part.images for part in before.parts.values()]
    assert not after.notes


def test_rows_that_say_the_same_twice_count_once(kept, tmp_path):
    lines = (tmp_path / "split.csv").read_text().splitlines()
    (tmp_path / "split.csv").write_text("\n".join([*lines, lines[1], lines[5]]))
    assert Split.read(tmp_path / "split.csv") == kept


@pytest.mark.parametrize("parts", [("train", "test"), ("test", "train"), ("val", "train")])
def test_contents_that_were_in_two_parts_were_trained_on(tmp_path, parts):
    (tmp_path / "a").write_bytes(b"same")
    one = digest(tmp_path / "a")
    assert Split(["a", "b"], ["x", "x"], parts, ["", ""], [one, one]).known([tmp_path / "a"]) == ["train"]
    assert Split(["a", "b"], ["x", "x"], ["test", "val"], ["", ""], [one, one]).known([tmp_path / "a"]) == ["val"]
    assert Split(["a"], ["x"], ["test"], [""], [""]).known([tmp_path / "gone"]) == [""]
