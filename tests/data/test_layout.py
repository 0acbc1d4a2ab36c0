"""What the levels of an image folder are taken for, and what is said of it."""

from pathlib import Path

import pytest
from PIL import Image

from mixtransfer.data.load import load_dataset
from mixtransfer.errors import UserError


def make(root: Path, *folders: str, images: int = 5) -> Path:
    """Each folder with so many images of its own."""
    for number, folder in enumerate(folders):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for i in range(images):
            Image.new("RGB", (8, 8), (40 * number % 256, 10 * i, 99)).save(root / folder / f"{i}.png")
    return root


@pytest.mark.parametrize(
    ("folders", "classes", "words"),
    [
        (["cat", "dog"], ["cat", "dog"], []),
        # Parts under the names that people give them.
        (
            ["training_set/a", "training_set/b", "test_set/a", "test_set/b"],
            ["a", "b"],
            ["training_set is read as the train"],
        ),
        (
            ["Train/a", "Train/b", "Dev/a", "Dev/b"],
            ["a", "b"],
            ["Dev is read as the val part", "val is used as the test"],
        ),
        # A class may be called like a part.
        (["train", "plane", "car"], ["car", "plane", "train"], []),
        # A level too many.
        (["flowers/daisy", "flowers/rose"], ["daisy", "rose"], ["holds nothing but the folder flowers"]),
        (["x/y/daisy", "x/y/rose"], ["daisy", "rose"], ["the folder x,", "the folder y,"]),
        (["x/y/z/daisy", "x/y/z/rose"], ["daisy", "rose"], ["the folder z,"]),
        (["x/train/a", "x/train/b", "x/test/a", "x/test/b"], ["a", "b"], ["holds nothing but the folder x"]),
        (["fold_0/a", "fold_0/b", "fold_1/a", "fold_1/b"], ["a", "b"], ["fold_0, fold_1 are read as folds"]),
        (["a/airfield", "a/alley", "b/bar", "b/beach"], ["airfield", "alley", "bar", "beach"], ["are letters above"]),
        # A class may have folders of its own.
        (["cat", "cat/2019", "dog"], ["cat", "dog"], []),
        # What tools leave behind.
        (["cat", "dog", "cat/.ipynb_checkpoints", ".git/x", "__MACOSX/cat"], ["cat", "dog"], []),
    ],
)
def test_levels(tmp_path, folders, classes, words):
    dataset = load_dataset(str(make(tmp_path / "d", *folders)))
    assert dataset.classes == classes
    said = " ".join(dataset.notes)
    assert all(word in said for word in words), said
    hidden = {".ipynb_checkpoints", ".git", "__MACOSX"}
    files = [*dataset.train.images, *dataset.val.images, *dataset.test.images]
    assert len(files) == 5 * len([f for f in folders if not hidden & set(f.split("/"))])


def test_two_readings_are_refused_and_the_option_decides(tmp_path):
    root = make(tmp_path / "d", "cat/2019", "cat/2020", "dog/2019", "dog/2020")
    with pytest.raises(UserError, match=r"cat, dog \(--layout class\), or 2019, 2020 \(--layout nested\)"):
        load_dataset(str(root))
    assert load_dataset(str(root), layout="class").classes == ["cat", "dog"]
    assert load_dataset(str(root), layout="nested").classes == ["2019", "2020"]


@pytest.mark.parametrize(
    ("folders", "layout", "words"),
    [(["cat", "dog"], "split", "no folder called train"), (["cat", "dog"], "nested", "not all folders")],
)
def test_a_layout_that_cannot_be_is_refused(tmp_path, folders, layout, words):
    with pytest.raises(UserError, match=words):
        load_dataset(str(make(tmp_path / "d", *folders)), layout=layout)


@pytest.mark.parametrize("validates", [True, False])
def test_a_test_part_without_classes_is_left_out_and_val_does_not_stand_for_it(tmp_path, validates):
    folders = ["train/a", "train/b", "test", *(["valid/a", "valid/b"] if validates else [])]
    dataset = load_dataset(str(make(tmp_path / "d", *folders, images=8)))
    assert "Left out: 8 images of test" in " ".join(dataset.notes)
    assert {file.relative_to(tmp_path / "d").parts[0] for file in dataset.test.images} == {"train"}
    assert {file.relative_to(tmp_path / "d").parts[0] for file in dataset.val.images} == {
        "valid" if validates else "train"
    }


def test_a_part_that_holds_nothing_usable_is_not_taken_for_absent(tmp_path):
    root = make(tmp_path / "d", "train/a", "train/b", "valid/a", "test/a")
    (root / "broken").mkdir()
    for file in (root / "valid" / "a").iterdir():
        file.write_text("no image")
    with pytest.raises(UserError, match=r"no usable image in its val part; 0.png is not an image"):
        load_dataset(str(root))


def test_a_folder_of_a_part_without_an_image_is_told(tmp_path):
    root = make(tmp_path / "d", "train/a", "train/b")
    (root / "val" / "a").mkdir(parents=True)
    assert "val holds no images, and is passed over." in load_dataset(str(root)).notes


def test_what_is_left_out_is_told(tmp_path):
    root = make(tmp_path / "d", "cat", "dog")
    for name in ("IMG_1.HEIC", "notes.txt", "more.txt", "bare"):
        (root / "cat" / name).write_text("x")
    (tmp_path / "elsewhere").mkdir()
    (root / "emu").symlink_to(tmp_path / "elsewhere")
    (root / "dog" / "loop").symlink_to(root)
    said = load_dataset(str(root)).notes
    assert "Left out: 1 photograph in formats that are not read (IMG_1.HEIC)." in said
    assert "Left out: 1 file without a suffix that says what it is (bare)." in said
    assert "Left out: 2 files that are no images (.txt 2)." in said
    assert "Left out: 1 link to folders outside of the data (emu)." in said


def test_a_name_is_the_same_however_its_letters_are_composed(tmp_path):
    root = make(tmp_path / "d", "train/caf\u00e9", "train/tea", "test/cafe\u0301", "test/tea")
    dataset = load_dataset(str(root))
    assert dataset.classes == ["caf\u00e9", "tea"] and len(dataset.test) == 10


def test_a_run_inside_of_the_data_is_no_class(tmp_path):
    root = make(tmp_path / "d", "cat", "dog", "runs/d-mixnet_s/figures")
    for name in ("config.yaml", "model.json"):
        (root / "runs" / "d-mixnet_s" / name).write_text("{}")
    dataset = load_dataset(str(root))
    assert dataset.classes == ["cat", "dog"]
    assert "Left out: 1 folder that mixtransfer has written (runs/d-mixnet_s)." in dataset.notes


def test_metadata_without_a_class_is_spoken_of(tmp_path):
    root = make(tmp_path / "d", ".")
    (root / "metadata.csv").write_text("file_name,text\n0.png,a cat\n")
    with pytest.raises(UserError, match=r"metadata.csv has no column that is a class"):
        load_dataset(str(root))


@pytest.mark.parametrize(
    ("folders", "loose"),
    [
        (["cat", "dog"], "."),
        (["train/a", "train/b", "test/a", "test/b"], "."),
        (["train/a", "train/b", "test/a", "test/b"], "test"),
        (["fold_0/a", "fold_0/b", "fold_1/a", "fold_1/b"], "."),
    ],
)
def test_images_in_no_class_folder_are_told(tmp_path, folders, loose):
    root = make(tmp_path / "d", *folders, loose)
    dataset = load_dataset(str(root))
    assert sum(map(len, dataset.parts.values())) == 5 * len(folders)
    first = Path(loose, "0.png").as_posix()
    assert any(f"Left out: 5 images in no class folder ({first}" in note for note in dataset.notes), dataset.notes


def test_a_folder_of_a_part_without_classes_is_not_said_to_be_read(tmp_path):
    root = make(tmp_path / "d", "train/a", "train/b", "test/a", "test/b", "testing_images", images=6)
    dataset = load_dataset(str(root))
    assert len(dataset.test) == 12 and not any("testing_images" in note and "read as" in note for note in dataset.notes)
    assert "Left out: 6 images of testing_images, whose classes are not known (no class folders)." in dataset.notes


def test_a_training_folder_with_images_beside_its_classes_is_asked_about(tmp_path):
    root = make(tmp_path / "d", "train/a", "train/b", "test/a", "test/b", "train")
    with pytest.raises(UserError, match=r"train is the training part, .*\(--layout split\), or .*\(--layout class\)"):
        load_dataset(str(root))
    assert load_dataset(str(root), layout="split").classes == ["a", "b"]
    assert load_dataset(str(root), layout="class").classes == ["test", "train"]
