"""Images that stand in several parts or files of detection data."""

import json

from coco_sets import HEIGHT, WIDTH, contents, make_coco, write_images
from PIL import Image

from mixtransfer.data.detection.coco import coco_json
from mixtransfer.data.detection.load import load_detection_dataset
from mixtransfer.data.split_file import Split


def ids(records):
    return [record.image_id for record in records]


def test_a_part_with_the_images_of_train_is_none(tmp_path):
    """As in data.yaml files that give one folder as both; the split of such data reads back."""
    root = tmp_path / "d"
    write_images(root / "images", contents(6))
    (root / "labels").mkdir()
    for i in range(1, 7):
        (root / "labels" / f"{i}.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    (root / "data.yaml").write_text("train: images\nval: images\nnames: [cat]\n")
    dataset = load_detection_dataset(str(root))
    assert all(map(len, (dataset.train, dataset.val, dataset.test)))
    assert "has the same images as train, so it is passed over" in " ".join(dataset.notes)
    dataset.split().write(tmp_path / "split.csv")
    again = load_detection_dataset(str(root), split=Split.read(tmp_path / "split.csv"))
    assert [ids(part) for part in again.parts.values()] == [ids(part) for part in dataset.parts.values()]


def test_an_image_in_two_parts_is_not_trained_on(tmp_path):
    root = make_coco(tmp_path / "d", train=8)
    (root / "train").rename(root / "images")
    coco = contents(2)
    (root / "annotations" / "instances_test.json").write_text(json.dumps(coco))
    dataset = load_detection_dataset(str(root))
    assert ids(dataset.test) == [1, 2] and sorted(ids(dataset.train) + ids(dataset.val)) == [3, 4, 5, 6, 7, 8]
    assert f"2 images of {root} are in both train and test (1.jpg for one), and count as test." in dataset.notes


def test_images_of_several_files_in_one_part_have_ids_of_their_own(tmp_path):
    """Ids are unique within a file only, and what came after a split may be of any."""
    root = make_coco(tmp_path / "d", train=4, val=3, test=3)
    kept = load_detection_dataset(str(root)).split()
    for number, part in enumerate(("train", "val", "test")):
        file = root / "annotations" / f"instances_{part}.json"
        coco, new = json.loads(file.read_text()), contents(2, 501)
        for image in new["images"]:
            image["file_name"] = f"new-{part}-{image['file_name']}"
            colour = (90 * number, 99, image["id"] % 256)
            Image.new("RGB", (WIDTH, HEIGHT), colour).save(root / part / image["file_name"])
        for key in ("images", "annotations"):
            coco[key] += new[key]
        file.write_text(json.dumps(coco))
    dataset = load_detection_dataset(str(root), split=kept)
    assert len(dataset.new) == 6 and len(set(ids(dataset.new))) == 6
    truth = coco_json(dataset.new, dataset.classes, dataset.category_ids)
    assert len({box["id"] for box in truth["annotations"]}) == 12
    assert ids(dataset.train) == [1, 2, 3, 4] and ids(dataset.test) == [201, 202, 203]


def test_what_links_of_listed_images_lead_to_is_not_called_unlisted(tmp_path):
    root = make_coco(tmp_path / "d", train=8)
    (root / "store").mkdir()
    for file in sorted((root / "train").iterdir()):
        file.rename(root / "store" / f"blob{file.name}")
        file.symlink_to(root / "store" / f"blob{file.name}")
    assert "Left out" not in load_detection_dataset(str(root)).reading
    Image.new("RGB", (9, 9)).save(root / "store" / "other.jpg")
    assert "Left out: 1 image that no annotation names (store/other.jpg)." in load_detection_dataset(str(root)).reading
