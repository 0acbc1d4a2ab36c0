"""What a person types: names, folders in several layouts, single files."""

import json
import shutil

import numpy as np
import pytest
from coco_sets import HEIGHT, WIDTH, contents, make_coco, write_images
from PIL import Image

from mixtransfer.data.detection.load import load_detection_dataset
from mixtransfer.errors import UserError

VOC = """<annotation><filename>{stem}.jpg</filename><size><width>64</width><height>48</height><depth>3</depth></size>
{objects}</annotation>"""
OBJECT = """<object><name>{}</name><difficult>{}</difficult><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax>
<ymax>{}</ymax></bndbox></object>"""


def sizes(dataset):
    return len(dataset.train), len(dataset.val), len(dataset.test)


def divided(dataset, images):
    """Whether so many images are in three parts that have some."""
    return sum(sizes(dataset)) == images and all(sizes(dataset))


def ids(records):
    return [record.image_id for record in records]


def test_all_three_parts_are_taken_as_they_are(tmp_path):
    dataset = load_detection_dataset(str(make_coco(tmp_path / "d", train=5, val=3, test=2)))
    assert sizes(dataset) == (5, 3, 2)


def test_validation_is_split_off_by_image_and_seed(tmp_path):
    root = make_coco(tmp_path / "d", train=20)
    dataset = load_detection_dataset(str(root), val_fraction=0.25)
    assert divided(dataset, 20)
    assert sorted(ids(dataset.train) + ids(dataset.val) + ids(dataset.test)) == list(range(1, 21))
    assert ids(load_detection_dataset(str(root), val_fraction=0.25).val) == ids(dataset.val)
    assert ids(load_detection_dataset(str(root), val_fraction=0.25, split_seed=1).val) != ids(dataset.val)
    assert f"{len(dataset.test)} of 20 images were set aside as the test part" in dataset.notes[0]


def test_val_is_the_test_part_where_there_is_no_other(tmp_path):
    dataset = load_detection_dataset(str(make_coco(tmp_path / "d", train=10, val=3)))
    assert divided(dataset, 13) and ids(dataset.test) == [101, 102, 103]
    assert "val is used as the test part" in dataset.notes[0]


def test_every_part_of_a_split_has_boxes_however_few_images_do(tmp_path):
    def three_have_boxes(coco):
        coco["annotations"] = coco["annotations"][:6]

    root = make_coco(tmp_path / "d", three_have_boxes, train=20)
    for seed in range(10):
        dataset = load_detection_dataset(str(root), split_seed=seed)
        for records in (dataset.train, dataset.val, dataset.test):
            assert sum(len(record.boxes) for record in records) == 2


@pytest.mark.parametrize("place", ["", "images", "instances", "annotations", None])
def test_images_are_found_beside_a_single_file(tmp_path, place):
    if place is not None:
        write_images(tmp_path / place, contents(8))
    (tmp_path / "instances.json").write_text(json.dumps(contents(8)))
    for data in (tmp_path / "instances.json", tmp_path):
        if place is not None:
            assert divided(load_detection_dataset(str(data)), 8)
        else:
            with pytest.raises(UserError, match="are not found: put them beside it"):
                load_detection_dataset(str(data))


def test_file_names_may_hold_folders(tmp_path):
    coco = contents(8)
    write_images(tmp_path / "images" / "part 1", coco)
    for image in coco["images"]:
        image["file_name"] = f"part 1/{image['file_name']}"
    (tmp_path / "x.json").write_text(json.dumps(coco))
    assert divided(load_detection_dataset(str(tmp_path / "x.json")), 8)


def test_parts_with_equal_file_names_keep_their_own_images(tmp_path):
    for part, colour in (("train", "red"), ("val", "blue")):
        folder = tmp_path / "d" / "images" / part
        folder.mkdir(parents=True)
        coco = contents(2)
        for image in coco["images"]:
            Image.new("RGB", (WIDTH, HEIGHT), colour).save(folder / image["file_name"])
        (tmp_path / "d" / "annotations").mkdir(exist_ok=True)
        (tmp_path / "d" / "annotations" / f"{part}.json").write_text(json.dumps(coco))
    dataset = load_detection_dataset(str(tmp_path / "d"))
    assert dataset.train[0].image().getpixel((5, 5))[0] > 200 > 50 > dataset.test[0].image().getpixel((5, 5))[0]


def test_roboflow_layout(tmp_path):
    for number, (part, count) in enumerate((("train", 4), ("valid", 2), ("test", 1))):
        coco = contents(count, 1 + 10 * number)
        coco["categories"].append({"id": 0, "name": "animals"})
        write_images(tmp_path / part, coco)
        (tmp_path / part / "_annotations.coco.json").write_text(json.dumps(coco))
    dataset = load_detection_dataset(str(tmp_path))
    assert sizes(dataset) == (4, 2, 1) and dataset.classes == ["cat", "dog"] and dataset.category_ids == [3, 7]
    assert "are no classes: 0 'animals'" in dataset.notes[0]


def test_only_instances_are_read_of_coco(tmp_path):
    root = make_coco(tmp_path / "d", train=3, val=2)
    (root / "annotations" / "captions_train.json").write_text("{}")
    assert sizes(load_detection_dataset(str(root))) == (2, 1, 2)


def make_voc(root, lists):
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for part, stems in lists.items():
        (root / "ImageSets" / "Main" / f"{part}.txt").write_text("".join(f"{stem}\n" for stem in stems))
    for stem in sorted({stem for stems in lists.values() for stem in stems} or {"a", "b", "c"}):
        Image.new("RGB", (WIDTH, HEIGHT)).save(root / "JPEGImages" / f"{stem}.jpg")
        objects = OBJECT.format("dog", 0, 1, 1, WIDTH, HEIGHT) + OBJECT.format("cat", 1, 11, 21, 30, 40)
        (root / "Annotations" / f"{stem}.xml").write_text(VOC.format(stem=stem, objects=objects))
    return root


def test_voc_pixels_count_from_one_and_difficult_is_ignored(tmp_path):
    root = make_voc(
        tmp_path / "VOC2007", {"train": ["a", "b"], "val": ["c"], "trainval": ["a", "b", "c"], "test": ["d"]}
    )
    dataset = load_detection_dataset(str(root))
    assert sizes(dataset) == (2, 1, 1) and dataset.classes == ["cat", "dog"] and dataset.category_ids == [1, 2]
    record = dataset.train[0]
    assert record.boxes.tolist() == [[0, 0, WIDTH, HEIGHT], [10, 20, 30, 40]]
    assert record.labels.tolist() == [1, 0] and record.crowd.tolist() == [False, True]
    assert record.area.tolist() == [WIDTH * HEIGHT, 400]
    every = [*dataset.train, *dataset.val, *dataset.test]
    assert len(set(ids(every))) == 4
    assert dataset.notes == ["Classes without a box to train on: 1 of 2 (cat)."]


def test_voc_without_val_splits_trainval(tmp_path):
    assert divided(load_detection_dataset(str(make_voc(tmp_path, {"trainval": list("abcdefgh")}))), 8)


def test_voc_without_lists_is_one_part(tmp_path):
    assert sizes(load_detection_dataset(str(make_voc(tmp_path, {})))) == (1, 1, 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "a.xml is missing"),
        ("<annotation>", "a.xml is not a Pascal VOC annotation"),
        (
            VOC.format(stem="a", objects="<object><name>dog</name></object>"),
            r"a.xml: object 1 \(dog\) has no upright box",
        ),
        (VOC.format(stem="a", objects=OBJECT.format("", 0, 1, 1, 9, 9)), "a.xml: object 1 has no name"),
        (VOC.replace("64", "65").format(stem="a", objects=""), "a.jpg is 64×48 pixels, but .* says 65×48"),
    ],
)
def test_wrong_voc_names_the_file(tmp_path, text, says):
    root = make_voc(tmp_path, {"train": ["a", "b"], "val": ["c"]})
    (root / "Annotations" / "a.xml").unlink()
    if text:
        (root / "Annotations" / "a.xml").write_text(text)
    with pytest.raises(UserError, match=says):
        load_detection_dataset(str(root))


def test_voc_of_which_nothing_can_be_used_says_why(tmp_path):
    from mixtransfer.doctor.listing import list_data

    root = make_voc(tmp_path / "d", {"train": ["a", "b"]})
    for name in "ab":
        (root / "Annotations" / f"{name}.xml").write_text("<annotation>")
    with pytest.raises(UserError, match=r"that can be used: .*a.xml is not a Pascal VOC annotation"):
        list_data(str(root), "detect", tmp_path)


def make_yolo(root, description, lines="0 0.5 0.5 0.25 0.5\n1 0.1 0.1 0.3 0.1 0.3 0.4 0.2 0.5\n"):
    for number, (part, count) in enumerate((("train", 4), ("val", 2))):
        write_images(root / "images" / part, contents(count, 1 + 10 * number))
        (root / "labels" / part).mkdir(parents=True)
    (root / "labels" / "train" / "1.txt").write_text(lines)
    (root / "labels" / "val" / "11.txt").write_text("1 0.5 0.5 1 1\n")
    (root / "data.yaml").write_text(description)
    return root


@pytest.mark.parametrize(
    "description",
    [
        "path: .\ntrain: images/train\nval: images/val\nnames: {0: cat, 1: dog}\n",
        "path: ../elsewhere\ntrain: images/train\nval: [images/val]\nnames: [cat, dog]\nnc: 2\n",
        "train: ../images/train\nval: ../images/val\ntest:\nnames: [cat, dog]\n",
        "train: train.txt\nval: images/val\nnames: [cat, dog]\n",
    ],
)
def test_yolo_boxes_are_shares_of_the_image(tmp_path, description):
    root = make_yolo(tmp_path / "d", description)
    (root / "labels" / "train" / "2.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    (root / "train.txt").write_text("".join(f"./images/train/{i}.jpg\n" for i in range(1, 5)))
    for data in (root, root / "data.yaml"):
        dataset = load_detection_dataset(str(data))
        assert sizes(dataset) == (3, 1, 2) and dataset.classes == ["cat", "dog"] and dataset.name == "d"
        records = {record.file.name: record for record in dataset.train + dataset.val}
        np.testing.assert_allclose(
            records["1.jpg"].boxes,
            [[24, 12, 40, 36], [0.1 * WIDTH, 0.1 * HEIGHT, 0.3 * WIDTH, 0.5 * HEIGHT]],
            rtol=1e-6,
        )
        assert records["1.jpg"].labels.tolist() == [0, 1] and len(records["3.jpg"].boxes) == 0


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("0 0.5 0.5 0.25\n", "1.txt, line 1: '0 0.5 0.5 0.25' is not a class and four numbers"),
        ("\n0 0.5 0.5 0.25 x\n", "1.txt, line 2: .* is not a class and four numbers"),
        ("cat 0.5 0.5 0.25 0.5\n", "1.txt, line 1: .* is not a class and four numbers"),
        ("2 0.5 0.5 0.25 0.5\n", "1.txt, line 1 has class 2, which is not among the 2 names"),
        ("0 nan 0.5 0.25 0.5\n", "has no box in its train part"),
    ],
)
def test_wrong_yolo_names_file_and_line(tmp_path, lines, says):
    root = make_yolo(tmp_path, "train: images/train\nval: images/val\nnames: [cat, dog]\n", lines)
    with pytest.raises(UserError, match=says):
        load_detection_dataset(str(root))


@pytest.mark.parametrize(
    ("description", "says"),
    [
        ("train: images/train\n", "needs the keys names and train"),
        ("[", "cannot be read as YAML"),
        ("train: images/train\nnames: {1: cat, 2: dog}\n", "must be numbered 0, 1, 2"),
        ("train: images/nowhere\nnames: [cat, dog]\n", "names 'images/nowhere', which is not there"),
    ],
)
def test_wrong_data_yaml(tmp_path, description, says):
    with pytest.raises(UserError, match=says):
        load_detection_dataset(str(make_yolo(tmp_path, description)))


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda root: "koko", "There is no dataset or folder 'koko'"),
        (lambda root: "cocoo", "did you mean coco"),
        (lambda root: root, "is no detection dataset: it holds none of COCO"),
        (lambda root: shutil.copy(__file__, root / "x.py"), "x.py is neither a JSON file of COCO or Label Studio nor"),
        (lambda root: make_coco(root / "d", val=3), "has no training part, only val"),
        (lambda root: make_coco(root / "d", one=3, two=3), "says neither train, val nor test in its name"),
        (lambda root: make_coco(root / "d", train_1=3, train_2=3), "both are train by their names"),
        (lambda root: make_coco(root / "d", train=1), "too few images with boxes to set a test part aside"),
    ],
)
def test_unusable_data_gets_one_sentence(tmp_path, build, says):
    with pytest.raises(UserError, match=says) as caught:
        load_detection_dataset(str(build(tmp_path)))
    assert "\n" not in str(caught.value)


def test_missing_coco_says_where_to_put_it(tmp_path):
    with pytest.raises(UserError, match="instances_train2017.json is missing: .*--data-root"):
        load_detection_dataset("coco", tmp_path)
