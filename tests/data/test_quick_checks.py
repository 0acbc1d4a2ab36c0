"""What training says of odd data before it starts."""

import shutil

import numpy as np

from mixtransfer.data.quick_checks import class_warnings, equal_images, warn


def test_small_and_unbalanced_classes_are_named():
    few, imbalance = class_warnings({"cat": 300, "dog": 9, "fish": 30, "unused": 0})
    assert "1 of 3 classes has fewer than 10" in few and "dog 9" in few
    assert "cat has 33 times as many" in imbalance and "300 and 9" in imbalance
    assert not class_warnings({"cat": 99, "dog": 10}) and not class_warnings({})


def test_equal_files_are_found_and_only_they(tmp_path):
    contents = [b"one", b"two", b"six", b"longer"]
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        for i, data in enumerate(contents):
            (tmp_path / part / str(i)).write_bytes(data if (part, i) != ("test", 2) else b"xis")
    train, test = (sorted((tmp_path / part).iterdir()) for part in ("train", "test"))
    assert equal_images(train, test[::-1]) == [(0, 3), (2, 1), (3, 0)]


def test_equal_arrays_are_found():
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)
    assert equal_images(images[:4], images[3:]) == [(0, 3)]


def test_only_odd_data_is_spoken_of(image_folder):
    cats = sorted((image_folder / "cat").iterdir())
    said: list[str] = []
    warn({"cat": 12, "dog": 12}, cats[:6], cats[6:], said.append)
    assert not said
    shutil.copy(cats[0], cats[9])
    warn({"cat": 12, "dog": 12}, cats[:6], cats[6:], said.append)
    assert said[0].startswith("Warning: 1 of 6 test images") and "009.jpg" in said[0] and "doctor" in said[1]


def test_empty_files_are_no_equal_images(tmp_path):
    paths = [tmp_path / name for name in ("a", "b", "gone", "gone too")]
    for path in paths[:2]:
        path.write_bytes(b"")
    assert equal_images([paths[0], paths[2]], [paths[1], paths[3]]) == []
