"""Parts that are drawn from a folder, a manifest or digits: by relative path, by group, by fold."""

import shutil

import numpy as np
import pytest
from folders import make_folder

from mixtransfer.data.division import Found
from mixtransfer.data.draw import Draw
from mixtransfer.data.load import load_dataset
from mixtransfer.errors import UserError

PARTS = ("train", "val", "test")


def parts_of(dataset):
    """Name → part, of every image."""
    return dict(zip(dataset.found.names, dataset.division.parts, strict=True))


@pytest.fixture
def bursts(tmp_path):
    """Two classes of 24 images, in bursts of four, and a manifest that says so of the first 40."""
    folder = make_folder(tmp_path / "d", {"cat": 24, "dog": 24}, size=16)
    rows = []
    for name in ("cat", "dog"):
        for i in range(24):
            (folder / name / f"{i:03}.jpg").rename(folder / name / f"{name}-burst{i // 4}_{i % 4}.jpg")
            rows.append((f"{name}/{name}-burst{i // 4}_{i % 4}.jpg", name, f"{name}{i // 4}"))
    lines = [f"{path},{label},{group if i < 40 else ''}" for i, (path, label, group) in enumerate(rows)]
    (folder / "m.csv").write_text("path,label,group\n" + "\n".join(lines))
    return folder


def test_images_that_come_move_none_of_the_others(tmp_path):
    folder = make_folder(tmp_path / "d", {"cat": 40, "dog": 40}, size=16)
    before = parts_of(load_dataset(str(folder)))
    make_folder(folder, {"cat": 60, "dog": 45, "emu": 10}, size=16)
    after = parts_of(load_dataset(str(folder)))
    assert len(after) == 115 and before.items() <= after.items()


def test_the_same_set_in_another_place_has_the_same_split(tmp_path, monkeypatch):
    make_folder(tmp_path / "d", {"cat": 12, "dog": 12}, size=16)
    shutil.copytree(tmp_path / "d", tmp_path / "elsewhere" / "e")
    rows = "\n".join(f"{name}/{i:03}.jpg,{name}" for name in ("dog", "cat") for i in reversed(range(12)))
    (tmp_path / "d" / "m.csv").write_text(f"path,label\n{rows}")
    monkeypatch.chdir(tmp_path / "d")
    here, there, dot, listed = (
        parts_of(load_dataset(str(data))) for data in (tmp_path / "d", tmp_path / "elsewhere" / "e", ".", "m.csv")
    )
    assert here == there == dot == listed and "cat/000.jpg" in here


def test_names_are_the_same_in_both_forms_of_unicode(tmp_path):
    """Macs write é as e and an accent."""
    for form in ("caf\u00e9", "cafe\u0301"):
        make_folder(tmp_path / form, {f"{form} noir": 12, "tea": 12}, size=16)
    composed, apart = (parts_of(load_dataset(str(tmp_path / form))) for form in ("caf\u00e9", "cafe\u0301"))
    assert composed == apart


def test_groups_of_a_manifest_stay_in_one_part(bursts):
    dataset = load_dataset(str(bursts / "m.csv"), val_fraction=0.3)
    parts: dict[str, set[str]] = {}
    for group, part in zip(dataset.division.groups, dataset.division.parts, strict=True):
        parts.setdefault(group, set()).add(part)
    assert all(len(found) == 1 for group, found in parts.items() if group) and set(PARTS) <= set.union(*parts.values())
    assert "40 images in 10 groups; the other 8 are groups of their own." in dataset.notes


def test_groups_by_a_pattern_stay_in_one_part(bursts):
    for pattern in (r"(\w+-burst\d)_", r"\w+-burst\d"):
        dataset = load_dataset(str(bursts), group_by=pattern)
        assert set(dataset.division.groups) == {f"{name}-burst{i}" for name in ("cat", "dog") for i in range(6)}
        whole = set(zip(dataset.division.groups, dataset.division.parts, strict=True))
        assert len(whole) == 12 and "48 images in 12 groups." in dataset.notes
        assert all(len(dataset.parts[part]) % 4 == 0 and len(dataset.parts[part]) for part in PARTS)


def test_a_group_in_two_parts_of_split_data_is_told(tmp_path):
    make_folder(tmp_path / "d" / "train", {"cat": 12, "dog": 12}, size=16)
    make_folder(tmp_path / "d" / "test", {"cat": 4, "dog": 4}, size=16)
    notes = load_dataset(str(tmp_path / "d"), group_by=r"\w+/\d+").notes
    assert "Warning: 8 of the groups have images in more than one part (cat/000, cat/001, cat/002 …)" in notes[-1]


def test_a_group_may_hold_several_classes(bursts):
    """Bursts of the same number are one group; each part still gets both classes."""
    dataset = load_dataset(str(bursts), group_by=r"burst\d")
    assert len(set(zip(dataset.division.groups, dataset.division.parts, strict=True))) == 6
    assert all(set(dataset.parts[part].labels) == {0, 1} for part in PARTS)


@pytest.mark.parametrize(
    ("data", "pattern", "says"),
    [
        ("", "burts", "--group-by 'burts' matches none of the 48 paths, such as 'cat/cat-burst0_0.jpg'"),
        ("", "(", "--group-by '.' is not a regular expression"),
        ("m.csv", "burst", "m.csv has groups of its own, in the column group"),
        ("", "cat", "All 24 images of the class 'cat' of .* are in one group"),
        ("", r"\w+-burst0?", r"The 24 images of the class 'cat' of .* are in too few groups \(2\)"),
    ],
)
def test_what_cannot_be_grouped(bursts, data, pattern, says):
    with pytest.raises(UserError, match=says) as caught:
        load_dataset(str(bursts / data), group_by=pattern)
    assert "\n" not in str(caught.value)


def test_digits_have_no_paths_to_group_by():
    with pytest.raises(UserError, match="--group-by is for images in files"):
        load_dataset("digits", group_by="1")


def test_a_manifest_with_an_image_in_two_groups(bursts):
    (bursts / "m.csv").write_text("path,label,group\na.jpg,cat,one\na.jpg,dog,two\n")
    with pytest.raises(UserError, match="line 3: 'a.jpg' is in the group 'two', and above in 'one'"):
        load_dataset(str(bursts / "m.csv"))


def test_every_image_is_tested_in_one_of_the_folds(image_folder):
    folds = [load_dataset(str(image_folder), fold=f"{k}/4") for k in range(1, 5)]
    tested = [name for dataset in folds for name, part in parts_of(dataset).items() if part == "test"]
    assert len(tested) == len(set(tested)) == 36
    for number, dataset in enumerate(folds, 1):
        assert np.bincount(dataset.test.labels).tolist() == [3, 3, 3]
        assert set(dataset.train.labels) == set(dataset.val.labels) == {0, 1, 2}
        assert f"Fold {number} of 4: 9 of 36 images" in dataset.notes[0]


def test_folds_keep_groups_whole(bursts):
    for k in (1, 2, 3):
        dataset = load_dataset(str(bursts), fold=f"{k}/3", group_by=r"\w+-burst\d")
        assert np.bincount(dataset.test.labels).tolist() == [8, 8]
        assert len(set(zip(dataset.division.groups, dataset.division.parts, strict=True))) == 12


def test_digits_are_not_split_and_have_folds():
    dataset = load_dataset("digits", fold="1/5")
    assert np.ptp(np.bincount(dataset.test.labels)) <= 2 and len(dataset.test) in (359, 360)


@pytest.mark.parametrize(
    ("fold", "says"),
    [("13/13", "There are 13 folds, but the class 'cat' of .* has only 12 images"), ("x", "must be like 2/5")],
)
def test_folds_that_cannot_be(image_folder, fold, says):
    with pytest.raises(UserError, match=says):
        load_dataset(str(image_folder), fold=fold)


def test_folds_are_not_for_data_that_is_split(tmp_path):
    make_folder(tmp_path / "d" / "train", {"a": 8, "b": 8})
    make_folder(tmp_path / "d" / "val", {"a": 3, "b": 3})
    with pytest.raises(UserError, match="Folds are for data that is not split, and .* has a test or validation part"):
        load_dataset(str(tmp_path / "d"), fold="1/2")


def test_an_empty_validation_part_is_drawn(tmp_path):
    make_folder(tmp_path / "d" / "train", {"a": 8, "b": 8})
    make_folder(tmp_path / "d" / "test", {"a": 3, "b": 3})
    (tmp_path / "d" / "val" / "a").mkdir(parents=True)
    dataset = load_dataset(str(tmp_path / "d"))
    assert len(dataset.val) and len(dataset.test) == 6


def test_by_default_a_fifth_is_tested_and_a_tenth_of_the_rest_validates():
    assert (Draw().test_fraction, Draw().val_fraction, Draw().seed) == (0.2, 0.1, 0)


@pytest.mark.parametrize(
    ("parts", "unlabelled", "expected"),
    [
        (("train", "val"), False, ("train", "test")),  # nobody may choose by what results are reported on
        (("train", "val", "test"), False, ("train", "val", "test")),
        (("train", "test"), False, ("train", "test")),
        (("train", "val"), True, ("train", "val")),  # val stands not for a test part that there is
    ],
)
def test_given_parts_stay_but_for_val_in_place_of_a_test_part(parts, unlabelled, expected):
    given = np.repeat(np.array(parts, dtype=object), 30)
    names = [f"{i}.jpg" for i in range(len(given))]
    labels = np.arange(len(given)) % 2
    found = Found("d", ["a", "b"], names, given, labels, [""] * len(names), [""] * len(names),
                  has_unlabelled_test=unlabelled)  # fmt: skip
    division = Draw().divide(found)
    for i, part in enumerate(expected):
        own = set(division.parts[30 * i : 30 * (i + 1)])
        if part == "train":  # what is missing comes out of it
            assert own == {"train"} | {"val", "test"} - set(expected)
        else:
            assert own == {part}
    told = any("val is used as the test part" in note for note in division.notes)
    assert told == (parts == ("train", "val") and not unlabelled)


@pytest.mark.parametrize("most", [None, 3])
def test_validation_has_a_bound_only_where_one_is_given(most):
    names = [f"{i}.jpg" for i in range(200)]
    labels = np.zeros(200, dtype=np.int64)
    given = np.full(200, "train", dtype=object)
    given[:20] = "test"
    found = Found("d", ["a"], names, given, labels, ["a"] * 200, [""] * 200, most_validation=most)
    validated = int((Draw(val_fraction=0.5).divide(found).parts == "val").sum())
    assert validated == 3 if most else 60 < validated < 120
