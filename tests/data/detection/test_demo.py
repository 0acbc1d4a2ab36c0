"""The set of digits on photographs: readable, exact, repeatable, its parts apart."""

import json

import numpy as np
import pytest
from PIL import Image

from mixtransfer.data.detection import demo
from mixtransfer.data.detection.dataset import statistics
from mixtransfer.data.detection.load import load_detection_dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return demo.write_digits_on_photos(tmp_path_factory.mktemp("demo") / "digits", train=30, test=12)


def test_it_is_read_as_any_other_set(folder):
    dataset = load_detection_dataset(str(folder))
    assert dataset.classes == [str(i) for i in range(10)] and not dataset.skipped
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (27, 3, 12)
    counts = statistics(dataset.train, dataset.classes)
    assert 30 <= counts["boxes"] <= 120 and counts["sizes"]["small"] == 0
    for record in dataset.train:
        assert (record.boxes[:, 2:] - record.boxes[:, :2]).max() <= 144
        for i, a in enumerate(record.boxes):
            for b in record.boxes[:i]:
                assert (np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).min() <= 0


def test_it_follows_from_the_seed(folder, tmp_path):
    again = demo.write_digits_on_photos(tmp_path / "again", train=30, test=12)
    other = demo.write_digits_on_photos(tmp_path / "other", train=3, test=2, seed=1)
    for path in sorted(p.relative_to(folder) for p in folder.rglob("*.j*")):
        assert (folder / path).read_bytes() == (again / path).read_bytes()
    assert (other / "train" / "000001.jpg").read_bytes() != (again / "train" / "000001.jpg").read_bytes()


@pytest.mark.parametrize("grey", [20, 240])
def test_boxes_are_tight_around_what_is_written(grey):
    """On a plain ground every changed pixel is ink."""
    from sklearn.datasets import load_digits

    generator = np.random.default_rng(0)
    for glyph in load_digits().images[:40]:
        canvas = np.full((220, 220, 3), grey, dtype=np.uint8)
        ink = demo.write_glyph(glyph, generator)
        demo.paste(canvas, ink, (7, 11), generator)
        changed = (canvas != grey).any(axis=-1)
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        height, width = ink.shape
        assert (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) == (7, 11, 7 + width, 11 + height)


def test_parts_share_neither_digits_nor_photograph(tmp_path, monkeypatch):
    used = {}
    scene = demo._scene

    def watched(grounds, glyphs, targets, generator):
        part = used.setdefault(len(targets), (grounds, glyphs))
        assert part[1] is glyphs or np.array_equal(part[1], glyphs)
        return scene(grounds, glyphs, targets, generator)

    monkeypatch.setattr(demo, "_scene", watched)
    demo.write_digits_on_photos(tmp_path, train=2, test=2)
    (val, val_glyphs), (train, train_glyphs) = (used[size] for size in sorted(used))
    assert len(val_glyphs) + len(train_glyphs) == 1797
    assert not {g.tobytes() for g in val_glyphs} & {g.tobytes() for g in train_glyphs}
    for left, right in zip(train, val, strict=True):
        assert left.shape[1] + right.shape[1] == 640


def test_files_are_what_the_json_says(folder):
    contents = json.loads((folder / "annotations" / "instances_test.json").read_text())
    assert len(contents["images"]) == len(list((folder / "test").iterdir())) == 12
    assert len({a["id"] for a in contents["annotations"]}) == len(contents["annotations"])
    with Image.open(folder / "test" / contents["images"][0]["file_name"]) as image:
        assert image.size == (320, 320)
