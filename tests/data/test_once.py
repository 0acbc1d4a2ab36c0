"""Of an image in several lists one place counts."""

from pathlib import Path

import pytest

from mixtransfer.data.once import each_once
from mixtransfer.errors import UserError

A, B, C, D, E = map(Path, "abcde")


def kept(files):
    places, notes = each_once(files, "data")
    return {part: [files[part][i] for i in own] for part, own in places.items()}, notes


@pytest.mark.parametrize("part", ["all", "train"])
def test_what_stands_once_stays_as_it_is(part):
    files = {part: [C, A, B]} | ({"val": [D], "test": [E]} if part == "train" else {})
    assert kept(files) == (files, [])


def test_what_stands_twice_counts_where_it_stands_first():
    assert kept({"all": [C, A, C, B, A]}) == (
        {"all": [C, A, B]}, ["data lists 2 images more than once in one part: each counts once."],
    )  # fmt: skip


def test_what_is_tested_or_validated_on_is_not_trained_on():
    files = {"train": [A, B, C, D], "val": [B, C, E], "test": [C]}
    assert kept(files) == (
        {"train": [A, D], "val": [B, E], "test": [C]},
        [
            "1 image of data is in both val and test (c for one), and counts as test.",
            "1 image of data is in both train and test (c for one), and counts as test.",
            "1 image of data is in both train and val (b for one), and counts as val.",
        ],
    )
    assert "2 images of data are in both train and test (a for one), and count as test." in kept(
        {"train": [B, A, C], "test": [A, B]}
    )[1]  # fmt: skip


def test_a_part_that_is_the_training_part_is_none():
    note = "The {} part of data has the same images as train, so it is passed over."
    assert kept({"train": [A, B], "val": [B, A]}) == ({"train": [A, B]}, [note.format("val")])
    assert kept({"train": [A, B], "val": [C], "test": [A, B]}) == (
        {"train": [A, B], "val": [C]}, [note.format("test")],
    )  # fmt: skip


def test_a_part_of_which_nothing_is_left_is_none_unless_it_is_trained_on():
    assert list(kept({"train": [A], "val": [B], "test": [B, C]})[0]) == ["train", "test"]
    with pytest.raises(UserError, match="All training images of data are in its other parts too"):
        kept({"train": [A], "val": [A, B]})
