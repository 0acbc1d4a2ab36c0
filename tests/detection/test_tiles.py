"""Tiled prediction: what is small is found, what a border cuts comes out once, and small images are as ever."""

import numpy as np
import pytest
from blobs import Blobs, picture, same_things, things_of

from mixtransfer.data.detection.dataset import Record
from mixtransfer.data.detection.square import Square
from mixtransfer.detection.mapper import EvaluationMapper, to_dataset_dict
from mixtransfer.detection.options import PredictOptions
from mixtransfer.detection.predict import predict
from mixtransfer.detection.scores import Detections
from mixtransfer.detection.spec import DetectorSpec
from mixtransfer.detection.tile_records import with_tiles
from mixtransfer.detection.tiles import find, merged, views_of
from mixtransfer.detection.tiling import Tiling, as_tiling
from mixtransfer.errors import UserError


@pytest.mark.parametrize(("width", "height"), [(2000, 1500), (641, 640), (640, 3000), (700, 500), (1000, 64)])
@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.5])
def test_tiles_cover_the_image_and_overlap(width, height, overlap):
    windows = Tiling(640, overlap).windows(width, height)
    assert windows[0].tolist() == [0, 0, width, height]
    seen = np.zeros((height, width), bool)
    for x1, y1, x2, y2 in windows[1:]:
        assert (x2 - x1, y2 - y1) == (min(640, width), min(640, height)) and x1 >= 0 and y1 >= 0
        seen[y1:y2, x1:x2] = True
    assert seen.all()
    for axis in (0, 1):
        starts = np.unique(windows[1:, axis])
        assert (np.diff(starts) <= 640 * (1 - overlap) + 1).all()


@pytest.mark.parametrize("size", [(640, 640), (100, 300)])
def test_an_image_no_larger_than_a_tile_is_as_without_tiles(size):
    image = picture(size, [(0, (10, 20, 70, 90))])
    plain, tiled = (find(Blobs(), [views_of(image, Square(128), tiling)], 8)[0] for tiling in (None, Tiling(640, 0.2)))
    assert len(plain.boxes) == 1
    for name in ("boxes", "scores", "labels"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(tiled, name))


# An image of 1024×768 in tiles of 256 that overlap by a quarter: borders are at 256, 192, 448, 384 … pixels.
LARGE = {
    "small": [(0, (500, 300, 516, 312)), (1, (20, 700, 30, 712))],
    "at a border": [(0, (240, 20, 272, 40)), (0, (440, 100, 470, 130))],
    "wider than the overlap": [(0, (200, 300, 330, 330))],
    "across three tiles": [(1, (100, 500, 700, 530))],
    "larger than a tile": [(0, (100, 100, 900, 650))],
    "at a corner of four": [(0, (230, 170, 280, 270))],
    "side by side at a border": [(0, (200, 20, 255, 60)), (0, (274, 20, 316, 60))],
    "one class over the other": [(0, (240, 20, 272, 40)), (1, (240, 44, 272, 64))],
}


@pytest.mark.parametrize("case", LARGE)
def test_each_object_comes_out_once(case):
    image = picture((1024, 768), LARGE[case])
    found = find(Blobs(128), [views_of(image, Square(128), Tiling(256, 0.25))], 8)[0]
    assert same_things(things_of(found.boxes, found.labels), LARGE[case], 8), found
    assert (np.diff(found.scores) <= 0).all()


def test_what_only_parts_show_is_put_together():
    """The whole image, at 128 pixels, does not show what is 12 pixels high."""
    image = picture((1024, 768), [(1, (100, 500, 700, 512))])
    assert not len(find(Blobs(128), [views_of(image, Square(128))], 8)[0].boxes)
    found = find(Blobs(128), [views_of(image, Square(128), Tiling(256, 0.25))], 8)[0]
    assert same_things(things_of(found.boxes, found.labels), [(1, (100, 500, 700, 512))], 2)


def detections(*found: tuple[tuple[float, ...], float, int]) -> Detections:
    boxes, scores, labels = zip(*found, strict=True) if found else ((), (), ())
    return Detections(
        5, np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(labels, np.int64)
    )


def test_a_wrong_box_of_the_whole_image_hides_no_part():
    """It reaches over the border too, but within the tile it is another box than the part."""
    windows = Tiling(100, 0.0).windows(200, 100)
    whole, left, right = detections(((10, 10, 190, 90), 0.1, 0)), detections(((80, 40, 100, 60), 0.9, 0)), detections()
    found = merged([whole, left, right], windows, DetectorSpec())
    assert found.boxes.tolist() == [[80, 40, 100, 60], [10, 10, 190, 90]]
    assert found.scores.tolist() == pytest.approx([0.9, 0.1]) and found.image_id == 5


def test_the_whole_box_has_the_higher_score_and_no_more_than_asked_for_come_out():
    windows = Tiling(100, 0.0).windows(200, 100)
    whole, left = detections(((80, 40, 130, 60), 0.5, 0)), detections(((80, 40, 100, 60), 0.9, 0))
    right = detections(((0, 40, 30, 60), 0.7, 0), ((60, 10, 80, 30), 0.6, 1))
    found = merged([whole, left, right], windows, DetectorSpec())
    assert found.boxes.tolist() == [[80, 40, 130, 60], [160, 10, 180, 30]]
    assert found.scores.tolist() == pytest.approx([0.9, 0.6])
    assert merged([whole, left, right], windows, DetectorSpec(max_detections=1)).boxes.tolist() == [[80, 40, 130, 60]]


def test_boxes_of_two_classes_are_one_object_only_if_asked_for():
    windows = Tiling(100, 0.0).windows(200, 100)
    left, right = detections(((80, 40, 100, 60), 0.9, 0)), detections(((0, 40, 30, 60), 0.7, 1))
    whole = detections(((80, 40, 130, 60), 0.5, 1))
    assert merged([whole, left, right], windows, DetectorSpec()).labels.tolist() == [0, 1]
    found = merged([whole, left, right], windows, DetectorSpec(class_agnostic=True))
    assert found.boxes.tolist() == [[80, 40, 130, 60]]


def test_predict_follows_the_run_and_what_is_asked_for(tmp_path, capsys):
    things = [(0, (500, 300, 516, 312)), (0, (240, 20, 264, 36))]
    picture((1024, 768), things).save(tmp_path / "large.png")

    def boxes(trained=None, **options):
        detector = Blobs(128, tiling=trained)
        (found,) = predict(PredictOptions("r", [str(tmp_path / "large.png")], batch_size=4, **options), detector)
        assert max(detector.calls) <= 4
        return things_of(found.detections.boxes, found.detections.labels)

    assert boxes() == [] == boxes(Tiling(256, 0.25), tiles=0)
    assert same_things(boxes(tiles=256), things, 2)
    assert capsys.readouterr().err == ""
    assert same_things(boxes(Tiling(256, 0.25)), things, 2)
    assert "tiles of 256 pixels that overlap by 25 %, as in training" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tiles", "overlap", "says"),
    [
        (63, None, "--tiles is 63; the side of a tile must be at least 64 pixels"),
        (-5, None, "--tiles is -5"),
        (640, 0.9, "--overlap is 0.9; it must lie between 0 and 0.75"),
        (640, -0.1, "--overlap is -0.1"),
        (None, 0.3, "give their side in pixels by --tiles"),
    ],
)
def test_what_tiles_cannot_be(tiles, overlap, says):
    with pytest.raises(UserError, match=says):
        as_tiling(tiles, overlap)


def test_what_is_not_given_is_the_runs():
    trained = Tiling(512, 0.3)
    assert as_tiling(None, None) is None and as_tiling(0, None, trained) is None
    assert as_tiling(None, None, trained) == trained
    assert as_tiling(256, None, trained) == Tiling(256, 0.3) and as_tiling(None, 0.1, trained) == Tiling(512, 0.1)
    assert as_tiling(640, None) == Tiling(640, 0.2)


@pytest.fixture
def record(tmp_path) -> Record:
    """300×100 pixels: a box in the first tile, one that the border at 100 cuts in 4:1, one in half, and crowd."""
    boxes = [(10, 10, 30, 30), (60, 40, 110, 60), (90, 70, 110, 90), (250, 10, 290, 50)]
    picture((300, 100), [(i % 2, box) for i, box in enumerate(boxes)]).save(tmp_path / "wide.png")
    values = np.array(boxes, np.float32)
    area = (values[:, 2:] - values[:, :2]).prod(axis=1).astype(np.float64)
    crowd = np.array([False, False, False, True])
    return Record(tmp_path / "wide.png", 9, 300, 100, values, np.array([0, 1, 0, 1]), crowd, area, np.arange(1, 5))


def test_tiles_to_train_on_have_the_boxes_that_lie_in_them(record):
    whole, first, second, third = with_tiles([record], Tiling(100, 0.0), empty=True)
    assert whole is record
    assert first.boxes.tolist() == [[10, 10, 30, 30], [60, 40, 100, 60], [90, 70, 100, 90]]
    assert first.labels.tolist() == [0, 1, 0] and first.area.tolist() == pytest.approx([400, 800, 200])
    assert second.boxes.tolist() == [[0, 70, 10, 90]] and second.ids.tolist() == [3]  # a fifth is too little
    assert third.boxes.tolist() == [[50, 10, 90, 50]] and third.crowd.tolist() == [True]
    for tile, left in ((first, 0), (second, 100), (third, 200)):
        example = EvaluationMapper(100)(to_dataset_dict(tile))
        assert (example["width"], example["height"]) == (100, 100)
        shown = np.asarray(record.image())[:, left : left + 100]
        np.testing.assert_array_equal(example["image"].permute(1, 2, 0), shown)


def test_tiles_without_boxes_are_few_or_none(record):
    """Of cuts of 300×100 in six, one or two of the tiles have a box to train on."""
    tiling = Tiling(64, 0.0)
    tiles = with_tiles([record], tiling, empty=False)[1:]
    assert tiles and not any(tile.crowd.all() for tile in tiles)
    more = with_tiles([record], tiling, empty=True)[1:]
    bare = [tile for tile in more if tile.crowd.all()]
    assert len(bare) == min(len(tiles), len(tiling.windows(300, 100)) - 1 - len(tiles)) and len(more) > len(tiles)
    assert [tile.left for tile in more] == [tile.left for tile in with_tiles([record], tiling, empty=True)[1:]]
