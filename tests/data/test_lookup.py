"""Which image a name means that another machine wrote."""

from pathlib import Path

import pytest
from PIL import Image

from mixtransfer.data.lookup import Lookup, is_foreign, shown, some
from mixtransfer.data.tree import Tree


@pytest.fixture
def find(tmp_path):
    """Makes files and finds a name among them; as paths below the root."""

    def found(files, name, folder="", **options):
        for file in files:
            path = tmp_path / "d" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4)).save(path)
        lookup = Lookup(Tree(tmp_path / "d"))
        path = lookup.find(name, tmp_path / "d" / folder, **options)
        return path and path.relative_to(tmp_path / "d").as_posix(), lookup.notes()

    return found


FILES = ["images/cat/1.png", "images/dog/1.png", "images/dog/2.png", "3.png"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("images/cat/1.png", "images/cat/1.png"),
        ("images\\cat\\1.png", "images/cat/1.png"),
        ("cat\\1.png", "images/cat/1.png"),  # the image's path ends as the name does
        ("C:\\data\\images\\dog\\1.png", "images/dog/1.png"),  # the name ends as the image's whole path does
        ("https://example.org/x/images/dog/2.png?size=large", "images/dog/2.png"),
        ("/data/local-files/?d=images/dog/2.png", "images/dog/2.png"),
        ("file:///home/me/images/cat%20/../cat/1.png", None),
        ("/home/me/3.png", "3.png"),
        ("..\\2.png", "images/dog/2.png"),
        # Of these only the name of the file, or no whole path, is the same.
        ("cat\\2.png", None),
        ("/home/me/cat/2.png", None),
        ("/other/dog/2.png", None),
        ("cat\\9.png", None),
        ("2.png", None),  # of no other machine
    ],
)
def test_a_name_of_another_machine_is_found_by_its_end(find, name, expected):
    found, notes = find(FILES, name)
    assert found == expected
    assert bool(notes) == (expected is not None and name != expected)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("2.png", "images/dog/2.png"),
        ("/data/upload/3/1a2b3c4d-2.png", "images/dog/2.png"),  # as Label Studio has it
        ("/data/upload/cat/1.png", "images/cat/1.png"),
        ("/data/upload/4/my%203.png", None),
        ("/data/upload/4/%33.png", "3.png"),
    ],
)
def test_where_it_is_said_so_the_name_of_the_file_is_enough(find, name, expected):
    assert find(FILES, name, elsewhere=True)[0] == expected


def test_several_that_are_meant_as_well_are_named(find):
    with pytest.raises(ValueError, match=r"could be images/cat/1.png or images/dog/1.png"):
        find(FILES, "..\\1.png")


def test_of_several_that_of_the_part_is_meant(find):
    files = ["train/1.png", "test/1.png"]
    assert find(files, "..\\1.png", part="test")[0] == "test/1.png"
    assert find(files, "..\\1.png", part="train")[0] == "train/1.png"


def test_links_out_of_the_data_are_not_found(find, tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "9.png").symlink_to(tmp_path / "secret.png")
    assert find(FILES, "/x/9.png")[0] is None


@pytest.mark.parametrize("name", ["images/CAT/../cat/1.PNG", "images/cat/1", "images/cat/1.PNG", "images/cat/1.jpg"])
def test_other_spellings(find, name):
    expected = None if name.endswith("jpg") or ".." in name else "images/cat/1.png"
    found, notes = find(FILES, name)
    assert found == expected and any("another spelling" in note for note in notes) == bool(expected)


def test_a_spelling_that_two_files_have_is_none(find):
    assert find(["a/x.png", "a/x.jpg"], "a/x")[0] is None


def test_ends_of_very_many_names_are_told_apart(find, tmp_path):
    """All of which are the same but for their folders."""

    class Many:
        root, images = Path("/nowhere"), [f"case {i}/scan.png" for i in range(5000)]

    lookup = Lookup(Many())
    for i in range(0, 5000, 7):
        assert lookup.find(f"s3://bucket/case {i}/scan.png", Path("/nowhere")) == Path(f"/nowhere/case {i}/scan.png")


def test_words_for_messages():
    assert shown("a\nb\x1b[0m") == "a�b�[0m" and some(["a", "b", "c", "d"]) == "a, b, c …" and some(["a"], 1) == "a"
    assert is_foreign("a\\b") and is_foreign("/a") and is_foreign("../a") and not is_foreign("a/b..c")
