"""`mixtransfer doctor` on images with boxes, in every layout."""

import json
from pathlib import Path

import numpy as np
import pytest
from coco_sets import HEIGHT, WIDTH, contents, make_coco, write_images

from mixtransfer.commandline.cli import main
from mixtransfer.data.detection.square import Square
from mixtransfer.doctor.boxes import PartBoxes, box_statistics, overlaps
from mixtransfer.doctor.listing import list_data
from mixtransfer.doctor.looking import look_through


def doctor(capsys, tmp_path, data, *words) -> tuple[int, dict]:
    code = main(["doctor", str(data), "--json", "--output", str(tmp_path / "out"), *map(str, words)])
    answer = json.loads(capsys.readouterr().out)
    return code, answer | {"kinds": {finding["kind"]: finding for finding in answer["findings"]}}


def edited(*boxes, **more):
    """An edit that gives the first annotations other boxes, and adds keys to the first."""

    def edit(coco):
        for annotation, box in zip(coco["annotations"], boxes, strict=False):
            annotation["bbox"] = box
        coco["annotations"][0].update(more)

    return edit


def test_every_kind_of_bad_box_is_counted(tmp_path, capsys):
    boxes = (
        [-9, 5, 30, 20],
        [5, 5, 0, 20],
        [5, 5, float("nan"), 20],
        [WIDTH + 5, 5, 20, 20],
        [3, 3, 30, 30],
        [3, 3, 30, 30],
    )
    code, answer = doctor(capsys, tmp_path, make_coco(tmp_path / "set", edited(*boxes), train=12, test=2))
    for kind, number in (("beyond", 10), ("no_size", 11), ("not_finite", 20), ("outside", 21)):
        assert [place["text"] for place in answer["kinds"][f"box_{kind}"]["places"]] == [
            f"train/{number // 10}.jpg, annotation {number}"
        ]
    twice = [place["text"] for place in answer["kinds"]["box_twice"]["places"]]
    assert "train/3.jpg, annotations 30 and 31, cat and dog" in twice
    assert [place["text"] for place in answer["kinds"]["no_boxes"]["places"]] == ["train/2.jpg"]
    assert code == 0 and answer["task"] == "detect" and answer["statistics"]["boxes"]["boxes"] == 28 - 3
    assert (tmp_path / "out" / "report.html").read_text().count("data:image/jpeg") >= 6


def test_undeclared_classes_and_wrong_sizes_are_all_named(tmp_path, capsys):
    def edit(coco):
        coco["annotations"][2]["category_id"] = 99
        coco["annotations"][5]["image_id"] = 1234
        coco["images"][3].update(width=HEIGHT, height=WIDTH)

    code, answer = doctor(capsys, tmp_path, make_coco(tmp_path / "set", edit, train=6, val=2))
    texts = [place["text"] for place in answer["kinds"]["unusable_annotation"]["places"]]
    assert code == 1 and len(texts) == 2 and "category 99" in texts[0] and "image 1234" in texts[1]
    assert [Path(place["files"][0]).name for place in answer["kinds"]["wrong_size"]["places"]] == ["4.jpg"]


def test_crowds_missing_files_and_copies_across_parts(tmp_path, capsys):
    root = make_coco(tmp_path / "set", edited(iscrowd=1), train=6, val=2)
    (root / "train" / "2.jpg").write_bytes((root / "val" / "101.jpg").read_bytes())
    (root / "train" / "3.jpg").unlink()
    code, answer = doctor(capsys, tmp_path, root)
    assert code == 1 and len(answer["kinds"]["leak"]["places"]) == 1
    assert [place["text"] for place in answer["kinds"]["crowd"]["places"]] == ["train/1.jpg, 1 box"]
    assert "there is no such file" in answer["kinds"]["unusable"]["places"][0]["text"]
    assert answer["classes"]["train"] == {"cat": 4, "dog": 5}


def test_yolo_and_single_json_files(tmp_path, capsys):
    root = tmp_path / "yolo"
    write_images(root / "images" / "train", contents(4))
    (root / "labels" / "train").mkdir(parents=True)
    (root / "data.yaml").write_text("names: [cat, dog]\ntrain: images/train\n")
    for i in range(1, 4):
        (root / "labels" / "train" / f"{i}.txt").write_text(f"0 0.5 0.5 0.4 0.4\n{i} 0.5 0.5 0.9 0.2\n")
    code, answer = doctor(capsys, tmp_path, root)
    texts = [place["text"] for place in answer["kinds"]["unusable_annotation"]["places"]]
    assert code == 1 and len(texts) == 2 and "2.txt, line 2 has class 2" in texts[0]
    assert answer["classes"] == {"train": {"cat": 3, "dog": 1}} and len(answer["kinds"]["no_boxes"]["places"]) == 1

    coco = contents(4)
    write_images(tmp_path / "single", coco)
    (tmp_path / "single" / "boxes.json").write_text(json.dumps(coco))
    for data in (tmp_path / "single", tmp_path / "single" / "boxes.json"):
        code, answer = doctor(capsys, tmp_path, data)
        assert code == 0 and answer["task"] == "detect" and answer["parts"] == {"all": 4}


def test_boxes_are_held_against_the_anchors(tmp_path):
    root = make_coco(tmp_path / "set", edited([0, 0, 32, 24], [3, 3, 2, 2]), train=1)
    listing = list_data(str(root), "auto", tmp_path)
    looks = look_through(listing, tmp_path / "looks.sqlite")
    parts = {part: PartBoxes.of(listing, looks, part) for part in listing.parts}
    # The first box is a quarter of the image, of which this anchor is half; the second is tiny.
    anchors = np.array([[0, 0, 0.5, 1.0]])
    np.testing.assert_allclose(overlaps(parts, anchors, Square(320)), [0.5, 4 / (WIDTH * HEIGHT / 2)])
    covered = box_statistics(parts, overlaps(parts, anchors, Square(320)))["covered_by_anchors"]
    assert covered == {"all": 0.5, "small": 0.5, "medium": None, "large": None}


def test_default_anchors_are_the_detectors(tmp_path):
    pytest.importorskip("detectron2", reason="detectron2 is not installed: mixtransfer install-detectron2")
    import torch

    from mixtransfer.detection.coverage import anchors_of
    from mixtransfer.detection.model import build_detector
    from mixtransfer.detection.spec import DetectorSpec

    model = build_detector("mobilenetv3_small_050", "none", 1).eval()
    for size in (96, 320, 300):
        with torch.inference_mode():
            anchors = model.predict(torch.zeros(1, 3, size, size))[2].numpy()
        np.testing.assert_allclose(anchors_of(DetectorSpec(image_size=size)) * size, anchors, atol=1e-3)


def test_tiny_boxes_are_said_to_be_out_of_reach(tmp_path, capsys):
    pytest.importorskip("detectron2", reason="detectron2 is not installed: mixtransfer install-detectron2")
    root = make_coco(tmp_path / "set", edited([3, 3, 2, 2]), train=1)
    _, answer = doctor(capsys, tmp_path, root, "--task", "detect")
    assert "1 of 2" in answer["kinds"]["box_uncovered"]["what"]
