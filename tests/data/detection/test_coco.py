"""COCO files: what is read is what pycocotools reads; what is wrong gets a note or one sentence."""

import contextlib
import io
import json
import tarfile

import numpy as np
import pytest
from coco_sets import HEIGHT, WIDTH, contents, make_coco
from PIL import Image

from mixtransfer.data.detection.coco import coco_json, read_coco
from mixtransfer.data.detection.dataset import statistics
from mixtransfer.data.detection.load import load_detection_dataset
from mixtransfer.errors import UserError


def loaded(root):
    return load_detection_dataset(str(root))


def changed(part, position=0, **values):
    """An edit that sets values of one entry."""
    return lambda coco: coco[part][position].update(values)


def in_coco(contents_or_path):
    """The same data in pycocotools' hands."""
    pycocotools = pytest.importorskip("pycocotools.coco")
    with contextlib.redirect_stdout(io.StringIO()):
        if isinstance(contents_or_path, dict):
            coco = pycocotools.COCO()
            coco.dataset = contents_or_path
            coco.createIndex()
            return coco
        return pycocotools.COCO(str(contents_or_path))


def assert_same(records, classes, category_ids, coco):
    """Every box, id, area and name as pycocotools has them."""
    assert category_ids == sorted(coco.getCatIds())
    assert classes == [coco.cats[i]["name"] for i in category_ids]
    assert {record.image_id for record in records} == set(coco.getImgIds())
    for record in records:
        image, annotations = coco.imgs[record.image_id], coco.imgToAnns[record.image_id]
        assert (record.width, record.height) == (image["width"], image["height"])
        assert record.file.name == image["file_name"]
        assert record.ids.tolist() == [a["id"] for a in annotations]
        assert [category_ids[label] for label in record.labels] == [a["category_id"] for a in annotations]
        assert record.crowd.tolist() == [bool(a["iscrowd"]) for a in annotations]
        np.testing.assert_allclose(record.area, [a["area"] for a in annotations])
        x, y, width, height = np.array([a["bbox"] for a in annotations]).reshape(-1, 4).T
        corners = np.stack([x, y, np.minimum(x + width, image["width"]), np.minimum(y + height, image["height"])], 1)
        np.testing.assert_allclose(record.boxes, corners, rtol=1e-6, atol=1e-6)


def test_real_coco_equals_pycocotools(shared_data, tmp_path):
    with tarfile.open(shared_data / "coco.tar") as archive:
        archive.extractall(tmp_path, filter="data")
    dataset = load_detection_dataset("coco", tmp_path)
    assert len(dataset.classes) == 80 and dataset.category_ids[-1] == 90
    assert len(dataset.train) + len(dataset.val) == 500 and len(dataset.test) == 100
    for records, part in ((dataset.train + dataset.val, "train"), (dataset.test, "val")):
        coco = in_coco(tmp_path / "coco" / "annotations" / f"instances_{part}2017.json")
        assert_same(records, dataset.classes, dataset.category_ids, coco)


def test_labels_are_contiguous_and_ids_stay(tmp_path):
    dataset = loaded(make_coco(tmp_path / "pets", train=4, val=2, test=2))
    assert dataset.name == "pets" and not dataset.notes and not dataset.skipped
    assert dataset.classes == ["cat", "dog"] and dataset.category_ids == [3, 7]
    assert_same(dataset.train, dataset.classes, dataset.category_ids, in_coco(contents(4)))
    assert dataset.train[0].boxes.dtype == np.float32 and dataset.train[0].labels.dtype == np.int64
    assert all(record.file.parent.name == "val" for record in dataset.val)


def test_written_json_reads_back_the_same(tmp_path):
    def crowd_and_empty(coco):
        coco["annotations"][1]["iscrowd"] = 1
        coco["annotations"] = coco["annotations"][:4]

    dataset = loaded(make_coco(tmp_path / "d", crowd_and_empty, train=4, val=2, test=2))
    written = coco_json(dataset.train, dataset.classes, dataset.category_ids)
    assert_same(dataset.train, dataset.classes, dataset.category_ids, in_coco(json.loads(json.dumps(written))))
    (tmp_path / "d" / "annotations" / "instances_train.json").write_text(json.dumps(written))
    for ours, again in zip(dataset.train, loaded(tmp_path / "d").train, strict=True):
        for key in ("boxes", "labels", "crowd", "area", "ids"):
            np.testing.assert_array_equal(getattr(ours, key), getattr(again, key))


def test_truth_scores_full_marks_in_pycocotools_even_with_an_annotation_id_of_0(tmp_path):
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    dataset = loaded(make_coco(tmp_path / "d", changed("annotations", 0, id=0), train=3, val=2, test=2))
    assert dataset.train[0].ids[0] == 0
    truth = in_coco(coco_json(dataset.train, dataset.classes, dataset.category_ids))
    results = [{**a, "score": 0.9} for a in truth.dataset["annotations"]]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = cocoeval.COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0)


def test_crowd_is_kept_but_no_target(tmp_path):
    record = loaded(make_coco(tmp_path / "d", changed("annotations", 0, iscrowd=1), train=3, val=2, test=2)).train[0]
    boxes, labels = record.targets
    assert record.crowd.tolist() == [True, False] and len(record.boxes) == 2
    assert labels.tolist() == [1] and np.array_equal(boxes, record.boxes[1:])


def test_images_without_boxes_stay(tmp_path):
    def first_is_empty(coco):
        coco["annotations"] = coco["annotations"][2:]

    dataset = loaded(make_coco(tmp_path / "d", first_is_empty, train=3, val=2, test=2))
    assert [len(record.boxes) for record in dataset.train] == [0, 2, 2]
    assert dataset.train[0].boxes.shape == (0, 4)
    assert coco_json(dataset.train, dataset.classes, dataset.category_ids)["images"][0]["id"] == 1


def test_boxes_are_clipped_and_counted(tmp_path):
    box = [-10, 40, 30, 30]  # 20 by 8 pixels of it are inside
    dataset = loaded(make_coco(tmp_path / "d", changed("annotations", 0, bbox=box, area=900), train=3, val=2, test=2))
    assert dataset.train[0].boxes[0].tolist() == [0, 40, 20, HEIGHT]
    assert dataset.train[0].area[0] == 160
    assert dataset.notes == ["train: Boxes that reach out of their image, clipped: 1 (annotation 10)."]


def test_a_rounding_error_beyond_the_border_is_no_news(tmp_path):
    dataset = loaded(
        make_coco(tmp_path / "d", changed("annotations", 0, bbox=[-0.4, 0, WIDTH + 1, 9]), train=3, val=2, test=2)
    )
    assert dataset.train[0].boxes[0].tolist() == [0, 0, WIDTH, 9] and not dataset.notes


@pytest.mark.parametrize(
    ("box", "what"),
    [
        ([5, 5, 0, 9], "of zero or negative size"),
        ([5, 5, 9, -3], "of zero or negative size"),
        ([5, float("nan"), 9, 9], "with coordinates that are not finite numbers"),
        ([5, 5, float("inf"), 9], "with coordinates that are not finite numbers"),
        ([WIDTH, 0, 20, 20], "outside their image"),
    ],
)
def test_unusable_boxes_are_left_out_and_counted_but_not_their_image(tmp_path, box, what):
    def two_of_them(coco):
        for annotation in coco["annotations"][:2]:
            annotation["bbox"] = box

    dataset = loaded(make_coco(tmp_path / "d", two_of_them, train=3, val=2, test=2))
    assert [len(record.boxes) for record in dataset.train] == [0, 2, 2]
    assert dataset.notes == [f"train: Boxes {what}, left out: 2 (annotation 10, annotation 11)."]


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda coco: [], "is a list, as COCO results are"),
        (lambda coco: coco.pop("images") and None, "is not COCO ground truth: it has no list of images"),
        (lambda coco: {"images": [1], "annotations": [], "categories": []}, "no list of images"),
        (lambda coco: {**coco, "categories": []}, "declares no categories"),
        (lambda coco: {**coco, "images": []}, "annotation 10 is of image 1, which is not listed"),
        (lambda coco: {**coco, "annotations": []}, "has no box in its train part"),
        (changed("images", 1, id=1), "the image id 1 stands twice"),
        (changed("images", 1, id=1.5), "image number 2 has the id 1.5, which is no number or text"),
        (changed("images", 1, id=""), "image number 2 has the id '', which is no number or text"),
        (changed("categories", 1, id=7), "the category id 7 stands twice"),
        (changed("categories", 1, name=None), "category 3 has no name"),
        (changed("annotations", 2, image_id=99), "annotation 20 is of image 99, which is not listed"),
        (changed("annotations", 2, image_id=[1]), r"annotation 20 is of image \[1\], which is not listed"),
        (changed("annotations", 2, category_id=5), "annotation 20 has category 5, which is not declared"),
        (changed("annotations", 2, bbox=[1, 2, 3]), "annotation 20 needs a bbox of four numbers"),
        (changed("annotations", 2, bbox=[1, 2, 3, "4"]), "annotation 20 needs a bbox of four numbers"),
        (changed("annotations", 2, bbox=None), "annotation 20 needs a bbox of four numbers"),
        (changed("images", 0, file_name=None), "image 1 has no file_name"),
        (changed("images", 0, file_name="/etc/passwd"), "must be relative to the folder of the images"),
        (changed("images", 0, file_name="../../gone.jpg"), "must be relative to the folder of the images"),
        (changed("images", 0, width=65), "1.jpg is 64×48 pixels, but .* says 65×48: correct the size"),
        (changed("images", 0, width="64"), "image 1 has the size '64'×48"),
        (lambda coco: [i.update(file_name="no" + i["file_name"]) for i in coco["images"]] and None, "are not found"),
    ],
)
def test_wrong_json_gets_one_sentence_that_names_the_entry(tmp_path, edit, says):
    with pytest.raises(UserError, match=says) as caught:
        loaded(make_coco(tmp_path / "d", edit, train=3, val=2, test=2))
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", '{"images": [', "id,box\n1,2\n", "\x00\xff"])
def test_what_is_not_json(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UserError, match="x.json is not JSON"):
        loaded(tmp_path / "x.json")


def test_parts_must_agree_on_the_categories(tmp_path):
    root = make_coco(tmp_path / "d", changed("categories", 0, name="wolf"), train=3, val=2, test=2)
    with pytest.raises(UserError, match="instances_test.json uses category 7 as 'dog', but .* has it as 'wolf'"):
        loaded(root)


def test_class_never_used_is_kept_and_named(tmp_path):
    def one_more(coco):
        coco["categories"].append({"id": 1, "name": "unicorn"})

    dataset = loaded(make_coco(tmp_path / "d", one_more, train=3, val=2, test=2))
    assert dataset.classes == ["unicorn", "cat", "dog"] and dataset.category_ids == [1, 3, 7]
    assert dataset.train[0].labels.tolist() == [1, 2]
    assert dataset.notes == ["Classes without a box to train on: 1 of 3 (unicorn)."]


def test_one_class(tmp_path):
    def only_cats(coco):
        coco["annotations"] = [a for a in coco["annotations"] if a["category_id"] == 3]
        coco["categories"] = [c for c in coco["categories"] if c["id"] == 3]

    root = make_coco(tmp_path / "d", only_cats, train=10)
    dataset = loaded(root)
    assert dataset.classes == ["cat"] and sum(map(len, dataset.parts.values())) == 10


def test_thousand_boxes_in_one_image(tmp_path):
    def crowded(coco):
        coco["annotations"] += [
            {"id": 1000 + i, "image_id": 1, "category_id": 3, "bbox": [i % 60, i % 40, 3, 4]} for i in range(1000)
        ]

    record = loaded(make_coco(tmp_path / "d", crowded, train=3, val=2, test=2)).train[0]
    assert record.boxes.shape == (1002, 4) and (record.area[2:] == 12).all()


@pytest.mark.parametrize(("width", "height"), [(1, 1), (5000, 2), (1, 3000)])
def test_extreme_shapes(tmp_path, width, height):
    def reshaped(coco):
        Image.new("RGB", (width, height)).save(tmp_path / "d" / "train" / "1.jpg")
        coco["images"][0].update(width=width, height=height)
        for annotation in coco["annotations"][:2]:
            annotation["bbox"] = [0, 0, width, height]

    record = loaded(make_coco(tmp_path / "d", reshaped, train=3, val=2, test=2)).train[0]
    assert (record.width, record.height) == (width, height)
    assert record.boxes.tolist() == [[0, 0, width, height]] * 2


def test_unusable_files_are_left_out_and_named(tmp_path):
    root = make_coco(tmp_path / "d", train=5, val=2, test=2)
    cut = (root / "train" / "2.jpg").read_bytes()
    (root / "train" / "2.jpg").write_bytes(cut[: len(cut) // 2])
    (root / "train" / "4.jpg").unlink()
    dataset = loaded(root)
    assert [record.image_id for record in dataset.train] == [1, 3, 5] and not dataset.notes
    assert {path.name: reason for path, reason in dataset.skipped.items()} == {
        "2.jpg": "is truncated",
        "4.jpg": "there is no such file",
    }


def test_no_usable_image_is_an_error(tmp_path):
    root = make_coco(tmp_path / "d", train=2, val=2, test=2)
    for i in (1, 2):
        (root / "train" / f"{i}.jpg").write_bytes(b"")
    with pytest.raises(UserError, match="no usable image in its train part: .*1.jpg is empty"):
        loaded(root)


def turned(tmp_path, width, height):
    """A set whose first image is stored on its side: 64×48 in the file, 48×64 on the screen."""

    def turn(coco):
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "d" / "train" / "1.jpg", exif=exif)
        coco["images"][0].update(width=width, height=height)

    return make_coco(tmp_path / "d", turn, train=3, val=2, test=2)


def test_boxes_refer_to_the_image_as_it_is_displayed(tmp_path):
    record = loaded(turned(tmp_path, HEIGHT, WIDTH)).train[0]
    assert (record.width, record.height) == record.image().size == (HEIGHT, WIDTH)


def test_sizes_of_the_stored_image_are_refused(tmp_path):
    with pytest.raises(UserError, match="1.jpg is 48×64 pixels, but .* says 64×48: width and height are swapped"):
        loaded(turned(tmp_path, WIDTH, HEIGHT))


@pytest.mark.parametrize(
    "unknown", [{}, {"width": -1, "height": -1}, {"width": 0, "height": None}, {"width": WIDTH}, {"height": HEIGHT}]
)
def test_missing_sizes_are_the_files(tmp_path, unknown):
    def without(coco):
        for image in coco["images"]:
            del image["width"], image["height"]
            image.update(unknown)

    record = loaded(make_coco(tmp_path / "d", without, train=3, val=2, test=2)).train[0]
    assert (record.width, record.height) == (WIDTH, HEIGHT)


def test_statistics_by_hand(tmp_path):
    def sized(coco):
        for annotation, area in zip(coco["annotations"], (1023, 1024, 9215, 9216, 5, 5), strict=True):
            annotation["area"] = area
        coco["annotations"][5]["iscrowd"] = 1
        coco["annotations"][4]["category_id"] = 7

    dataset = loaded(make_coco(tmp_path / "d", sized, train=3, val=2, test=2))
    assert statistics(dataset.train, dataset.classes) == {
        "images": 3,
        "images_without_boxes": 0,
        "boxes": 5,
        "crowd": 1,
        "boxes_per_class": {"cat": 2, "dog": 3},
        "sizes": {"small": 2, "medium": 2, "large": 1},
    }


def test_read_coco_keeps_unrelated_fields_out_of_the_way(tmp_path):
    path = tmp_path / "x.json"
    extended = {**contents(2), "licenses": [], "info": {"year": 2017}}
    extended["annotations"][0]["segmentation"] = {"counts": "abc", "size": [4, 4]}
    path.write_text(json.dumps(extended), encoding="utf-8-sig")
    assert len(read_coco(path).annotations) == 4


def test_a_number_is_a_name_of_a_category(tmp_path):
    root = make_coco(tmp_path / "d", train=3, val=2, test=2)
    for file in root.rglob("*.json"):
        coco = json.loads(file.read_text())
        for category in coco["categories"]:
            category["name"] = category["id"]
        file.write_text(json.dumps(coco))
    dataset = loaded(root)
    assert dataset.classes and all(name.isdigit() for name in dataset.classes)
