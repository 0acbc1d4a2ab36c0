"""Images and the parts that they are in."""

import numpy as np
import pytest

from mixtransfer.data.division import Division, Found, counted


def test_the_images_of_a_part_come_in_their_order():
    parts = np.array(["val", "train", "new", "test", "train", "val", "train"])
    division = Division(parts, np.array([0, 5, 1, 2, 3, 6, 4]), [""] * 7, [])
    assert {part: division.members(part).tolist() for part in ("train", "val", "test", "new")} == {
        "train": [4, 6, 1], "val": [0, 5], "test": [3], "new": [2],
    }  # fmt: skip


@pytest.mark.parametrize("count, words", [(0, "0 images"), (1, "1 image"), (2, "2 images"), (2000, "2,000 images")])
def test_one_of_a_thing_is_no_plural(count, words):
    assert counted(count) == words


def test_by_default_no_test_part_is_hidden():
    assert not Found("d", [], [], np.empty(0), np.empty(0), [], []).has_unlabelled_test
