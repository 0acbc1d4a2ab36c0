"""Folders, manifests and named datasets, with their splits."""

import tarfile

import numpy as np
import pytest
from folders import make_folder

from mixtransfer.data.load import load_dataset
from mixtransfer.errors import UserError


def names(examples):
    return {str(path) for path in examples.images}


def test_single_folder_is_split_by_class_and_seed(image_folder):
    dataset = load_dataset(str(image_folder))
    assert dataset.classes == ["cat", "dog", "fish"]
    parts = [names(part) for part in (dataset.train, dataset.val, dataset.test)]
    assert sum(map(len, parts)) == 36 == len(set.union(*parts))
    assert all(set(part.labels) == {0, 1, 2} for part in (dataset.train, dataset.val, dataset.test))
    again, other = load_dataset(str(image_folder)), load_dataset(str(image_folder), split_seed=1)
    assert names(again.test) == names(dataset.test) != names(other.test)
    assert any("set aside" in note for note in dataset.notes)


def test_train_and_test_folders_keep_their_test_set(tmp_path):
    make_folder(tmp_path / "d" / "train", {"a": 10, "b": 10})
    make_folder(tmp_path / "d" / "test", {"a": 3, "b": 3})
    dataset = load_dataset(str(tmp_path / "d"))
    assert len(dataset.test) == 6 and all("/test/" in name for name in names(dataset.test))
    assert set(dataset.val.labels) == {0, 1} and all("/train/" in name for name in names(dataset.val))
    assert len(dataset.val) + len(dataset.train) == 20


def test_all_three_folders_are_taken_as_they_are(tmp_path):
    for part, count in (("train", 5), ("valid", 2), ("test", 3)):
        make_folder(tmp_path / "d" / part, {"a": count, "b": count})
    dataset = load_dataset(str(tmp_path / "d"))
    assert [len(part) for part in (dataset.train, dataset.val, dataset.test)] == [10, 4, 6]


def test_val_without_test_is_the_test_set(tmp_path):
    make_folder(tmp_path / "d" / "train", {"a": 10, "b": 10})
    make_folder(tmp_path / "d" / "val", {"a": 3, "b": 3})
    dataset = load_dataset(str(tmp_path / "d"))
    assert all("/val/" in name for name in names(dataset.test))
    assert all("/train/" in name for name in names(dataset.val))


def test_unusable_files_are_left_out_and_named(image_folder):
    (image_folder / "cat" / "broken.jpg").write_text("no image")
    (image_folder / "cat" / ".DS_Store").write_text("no image")
    dataset = load_dataset(str(image_folder))
    assert {path.name: reason for path, reason in dataset.skipped.items()} == {
        "broken.jpg": "is not an image, whatever its name says"
    }
    assert len(dataset.train) + len(dataset.val) + len(dataset.test) == 36


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda root: root / "nowhere", "There is no dataset or folder"),
        (lambda root: root, "holds no class folders"),
        (lambda root: make_folder(root, {"cat": 8, "dog": 1}), "class 'dog' of .* has too few images .1.: it takes 3"),
        (lambda root: make_folder(root, {"cat": 8, "dog": 0}), "'dog' of .* has no usable image"),
        (lambda root: make_folder(root, {"cat": 8}), "a single class, 'cat'"),
        (lambda root: make_folder(root, {"cat": 0, "dog": 0}), "holds no images"),
        (lambda root: make_folder(root, {"a": 3}) / "a" / "000.jpg", "not a manifest"),
    ],
)
def test_unusable_data_gets_one_sentence(tmp_path, build, says):
    with pytest.raises(UserError, match=says) as caught:
        load_dataset(str(build(tmp_path)))
    assert "\n" not in str(caught.value)


def test_manifest_with_and_without_splits(image_folder):
    rows = [(f"{c}/{i:03}.jpg", c) for c in ("cat", "dog") for i in range(10)]
    plain = image_folder / "plain.csv"
    plain.write_text("path,label\n" + "\n".join(f"{p},{c}" for p, c in rows))
    dataset = load_dataset(str(plain))
    assert dataset.classes == ["cat", "dog"]
    assert len(dataset.train) + len(dataset.val) + len(dataset.test) == 20
    split = image_folder / "split.csv"
    parts = ["train"] * 6 + ["val"] * 2 + ["test"] * 2
    split.write_text("split,path,label\n" + "\n".join(f"{parts[i % 10]},{p},{c}" for i, (p, c) in enumerate(rows)))
    dataset = load_dataset(str(split))
    assert [len(part) for part in (dataset.train, dataset.val, dataset.test)] == [12, 4, 4]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("file,label\na.jpg,cat\n", "needs the columns path and label"),
        ("path,label\n", "lists no images"),
        ("path,label\ncat/000.jpg,\n", "line 2: the label is missing"),
        ("path,label\n../../etc/passwd,cat\n", "line 2: '../../etc/passwd' lies outside of"),
        ("path,label,split\ncat/000.jpg,cat,maybe\n", "must be train, val or test"),
        (
            "path,label,split\ncat/000.jpg,cat,train\ncat/001.jpg,cat,\n",
            "line 3: the split is missing: write .* or in none",
        ),
    ],
)
def test_bad_manifest_names_the_line(image_folder, text, says):
    manifest = image_folder / "bad.csv"
    manifest.write_text(text)
    with pytest.raises(UserError, match=says):
        load_dataset(str(manifest))


def test_digits_need_no_download():
    dataset = load_dataset("digits")
    assert len(dataset.train) + len(dataset.val) + len(dataset.test) == 1797
    assert dataset.train.images.dtype == np.uint8 and dataset.train.images.max() == 255
    assert dataset.is_writing


def test_a_folder_of_that_name_is_like_any_other(image_folder):
    folder = image_folder.rename(image_folder.with_name("digits"))
    dataset = load_dataset(str(folder))
    assert dataset.name == "digits" and not dataset.is_writing


def test_missing_named_dataset_says_where_to_put_it(tmp_path, monkeypatch):
    from torchvision import datasets

    def unreachable(*args, **kwargs):
        raise OSError("unreachable")

    monkeypatch.setattr(datasets, "CIFAR10", unreachable)
    with pytest.raises(UserError, match="--data-root"):
        load_dataset("cifar10", tmp_path)


def test_cifar_from_an_image_folder(tmp_path):
    """Instead of the published batches; the test part is the one that is there."""
    for part, count in (("train", 20), ("test", 5)):
        make_folder(tmp_path / "cifar100" / part, {"apple": count, "bee": count}, size=32)
    dataset = load_dataset("cifar100", tmp_path)
    assert dataset.classes == ["apple", "bee"] and dataset.name == "cifar100"
    assert len(dataset.test) == 10 and len(dataset.train) + len(dataset.val) == 40
    assert all("/test/" in name for name in names(dataset.test))


def test_misspelt_name_gets_the_near_one():
    with pytest.raises(UserError, match="did you mean cifar10"):
        load_dataset("cifra10")


def test_pets_as_torchvision_reads_them(shared_data, tmp_path):
    with tarfile.open(shared_data / "oxford-iiit-pet.tar") as archive:
        archive.extractall(tmp_path, filter="data")
    dataset = load_dataset("pets", tmp_path)
    assert len(dataset.classes) == 37 and len(dataset.test) == 111
    assert len(dataset.train) + len(dataset.val) == 259 and set(dataset.train.labels) == set(dataset.val.labels)
    assert dataset.train.image(0, 256).mode == "RGB"
