"""From records to the dicts that a model takes."""

import numpy as np
import pytest
import torch
from coco_sets import make_coco
from PIL import Image

from mixtransfer.data.detection.augment import DetectionAugment
from mixtransfer.data.detection.dataset import Record
from mixtransfer.data.detection.load import load_detection_dataset
from mixtransfer.detection.mapper import EvaluationMapper, TrainingMapper, add_instances, to_dataset_dict
from mixtransfer.errors import UserError


@pytest.fixture
def record(tmp_path):
    """1200×400 pixels, white with two red boxes, of which the second is crowd."""
    image = Image.new("RGB", (1200, 400), "white")
    image.paste("red", (300, 100, 600, 300))
    image.save(tmp_path / "wide.jpg", quality=95)
    boxes = np.array([[300, 100, 600, 300], [900, 0, 1200, 400]], dtype=np.float32)
    labels, crowd = np.array([4, 2]), np.array([False, True])
    return Record(tmp_path / "wide.jpg", 17, 1200, 400, boxes, labels, crowd, np.array([6e4, 12e4]), np.array([1, 2]))


def test_training_dict(record):
    example = TrainingMapper(DetectionAugment("none", 64)).view(to_dataset_dict(record), 0)
    assert {key: example[key] for key in ("image_id", "height", "width")} == {
        "image_id": 17,
        "height": 400,
        "width": 1200,
    }
    assert example["file_name"] == str(record.file)
    image = example["image"]
    assert image.shape == (3, 64, 64) and image.dtype == torch.uint8
    np.testing.assert_allclose(example["boxes"], [[16, 16, 32, 48]], atol=1e-4)  # crowd is no target
    assert example["labels"].tolist() == [4]
    assert image[:, 32, 24].tolist()[0] > 200 > 60 > image[1, 32, 24] and image[:, 32, 40].min() > 200


@pytest.mark.parametrize("policy", ["crop", "standard"])
def test_boxes_follow_pixels_although_a_large_image_is_decoded_at_a_fraction(record, policy):
    mapper = TrainingMapper(DetectionAugment(policy, 64))
    seen = 0
    for seed in range(30):
        example = mapper.view(to_dataset_dict(record), seed)
        image = example["image"].numpy().astype(int)
        red = image[0] - image[1:].max(axis=0) > 0.5 * (image[0].max() - image[1:].min())
        if len(example["boxes"]) and policy == "crop":
            rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
            extent = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
            np.testing.assert_allclose(example["boxes"][0], extent, atol=1.5)
        seen += len(example["boxes"])
    assert seen == 30


def test_evaluation_shows_the_whole_image_warped(record):
    example = EvaluationMapper(64)(to_dataset_dict(record))
    assert set(example) == {"file_name", "image_id", "height", "width", "image"}
    assert (example["height"], example["width"]) == (400, 1200)
    red = (example["image"][0] > 150) & (example["image"][1] < 100)
    rows, columns = torch.where(red)
    assert [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] == [16, 16, 32, 48]


def test_instances_are_detectron2s(record):
    pytest.importorskip("detectron2")
    mapped = TrainingMapper(DetectionAugment("crop-flip", 64)).view(to_dataset_dict(record), 1)
    example = add_instances(mapped)
    instances = example["instances"]
    assert "boxes" not in example and "labels" not in example
    assert instances.image_size == (64, 64)
    np.testing.assert_array_equal(instances.gt_boxes.tensor, mapped["boxes"])
    assert instances.gt_classes.dtype == torch.int64 and instances.gt_classes.tolist() == mapped["labels"].tolist()


def test_image_without_boxes_has_no_instances(tmp_path):
    pytest.importorskip("detectron2")

    def first_is_empty(coco):
        coco["annotations"] = coco["annotations"][2:]

    record = load_detection_dataset(str(make_coco(tmp_path / "d", first_is_empty, train=2, val=2, test=2))).train[0]
    example = add_instances(TrainingMapper(DetectionAugment("standard", 32)).view(to_dataset_dict(record), 3))
    assert example["instances"].gt_boxes.tensor.shape == (0, 4) and len(example["instances"].gt_classes) == 0


def test_a_file_that_breaks_during_training_is_named(record):
    record.file.write_bytes(record.file.read_bytes()[:500])
    with pytest.raises(UserError, match="wide.jpg is truncated: mend or remove it"):
        EvaluationMapper(64)(to_dataset_dict(record))
