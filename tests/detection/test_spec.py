"""One description of a detector: what it is filled by, what reads it, and that older ones mean what they meant."""

import json
from dataclasses import replace

import detecting  # noqa: F401  skips without detectron2
import numpy as np
import pytest
import torch
from coco_sets import make_coco
from detect_tiny import tiny
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from PIL import Image

from mixtransfer.commandline.cli import main
from mixtransfer.data.detection.square import Square
from mixtransfer.detection.coverage import anchor_coverage
from mixtransfer.detection.model import build_detector, open_detector, read_detector_card
from mixtransfer.detection.spec import DetectorSpec
from mixtransfer.detection.ssdlite.config import add_ssdlite_config
from mixtransfer.detection.ssdlite.describe import spec_of
from mixtransfer.detection.train import train
from mixtransfer.errors import UserError
from mixtransfer.runs.run_data import boxes_of_run

OTHER = DetectorSpec(
    image_size=128,
    resize="letterbox",
    tap="stage",
    anchors=(0.1, 0.8),
    aspect_ratios=(2.0,),
    match_iou=0.4,
    box_weights=(5.0, 5.0, 2.0, 2.0),
    loss="focal",
    focal_alpha=0.5,
    focal_gamma=1.5,
    focal_prior=0.05,
    pixel_mean=(1.0, 2.0, 3.0),
    pixel_std=(4.0, 5.0, 6.0),
    norm_eps=0.002,
    min_score=0.02,
    nms=0.4,
    class_agnostic=True,
    candidates_per_class=77,
    max_detections=33,
)
# As the version before there was a description wrote it.
OLD_CARD = {
    "task": "detection",
    "backbone": "mobilenetv3_small_050",
    "classes": ["cat", "dog"],
    "preprocessing": {"size": 96},
    "versions": {},
    "details": {"tap": "auto", "loss": "cross_entropy", "category_ids": [3, 5]},
    "format": 1,
    "architecture": None,
}


def test_a_detector_that_is_built_by_it_has_all_of_it():
    """Every field but ``thresholds`` and the size reaches the network, and can be read off it again."""
    model = build_detector("mobilenetv3_small_050", "none", 3, OTHER)
    assert spec_of(model, OTHER.square) == OTHER
    usual = build_detector("mobilenetv3_small_050", "none", 3)
    assert spec_of(usual, Square(320)) == replace(DetectorSpec(), candidates_per_class=300)


def test_a_description_survives_json_and_is_whole():
    assert DetectorSpec.from_dict(json.loads(json.dumps(OTHER.to_dict())), "x") == OTHER
    assert set(OTHER.to_dict()) == set(DetectorSpec.__dataclass_fields__)


def test_detectron2s_other_configuration_has_the_same_defaults_and_keys():
    cfg = get_cfg()
    add_ssdlite_config(cfg)
    cfg.merge_from_list([
        "MODEL.DEVICE", "cpu", "MODEL.SSDLITE.BACKBONE", "mobilenetv3_small_050",
        "MODEL.SSDLITE.BACKBONE_WEIGHTS", "none",
    ])  # fmt: skip
    usual = spec_of(build_model(cfg), Square(320))
    assert replace(usual, pixel_mean=None, pixel_std=None) == replace(DetectorSpec(), candidates_per_class=300)
    cfg.merge_from_list(["MODEL.SSDLITE.ANCHORS", (0.1, 0.8), "MODEL.SSDLITE.CLASS_AGNOSTIC", True])
    cfg.merge_from_list(["MODEL.SSDLITE.LOSS", "focal", "MODEL.SSDLITE.FOCAL_GAMMA", 1.5])
    other = spec_of(build_model(cfg), Square(320))
    assert (other.anchors, other.class_agnostic, other.loss, other.focal_gamma) == ((0.1, 0.8), True, "focal", 1.5)


def test_an_older_card_means_what_it_meant(tmp_path):
    (tmp_path / "model.json").write_text(json.dumps(OLD_CARD))
    card, spec, ids = read_detector_card(tmp_path / "model.json")
    assert (card.classes, ids) == (["cat", "dog"], [3, 5])
    assert spec == DetectorSpec(image_size=96)
    model = build_detector(card.spec, "none", 2, spec)
    assert (model.score_threshold, model.nms_threshold, model.candidates_per_class) == (0.001, 0.55, 300)
    assert (model.detections_per_image, model.class_agnostic, model.anchor_generator.scales) == (
        100,
        False,
        (0.2, 0.95),
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("nms", 1.5), ("nms", "0.5"), ("min_score", -0.1), ("min_score", float("nan")), ("anchors", [0.5, 0.2]),
        ("aspect_ratios", [0]), ("resize", "stretch"), ("class_agnostic", 1), ("max_detections", 0), ("loss", "huber"),
        ("pixel_std", [0, 1, 1]), ("thresholds", {"cat": 2}), ("focal_prior", 0), ("candidates_per_class", True),
    ],
)  # fmt: skip
def test_a_description_that_cannot_be_is_refused_by_name(tmp_path, field, value):
    card = json.loads(json.dumps(OLD_CARD))
    (card["preprocessing"] if field == "resize" else card["details"])[field] = value
    (tmp_path / "model.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match=f"not a detector's description: {field} is missing or wrong"):
        read_detector_card(tmp_path / "model.json")


def test_what_training_was_told_is_kept_and_used(tmp_path, capsys):
    data = make_coco(tmp_path / "d", train=6, val=2, test=2)
    given = {"resize": "letterbox", "nms": 0.3, "class_agnostic": True, "min_score": 0.01, "max_detections": 7}
    run = train(tiny(data, tmp_path / "r", iterations=1, eval_every=1, **given))
    spec = read_detector_card(run.model)[1]
    assert {name: getattr(spec, name) for name in given} == given
    trained = open_detector(run.folder)
    assert (trained.model.nms_threshold, trained.model.class_agnostic) == (0.3, True)
    capsys.readouterr()
    assert main(["detect", "evaluate", str(run.folder), "--workers", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == run.read_metrics()["test"]


@pytest.mark.parametrize("words", [["--nms", "1.2"], ["--min-score", "-0.1"]])
@pytest.mark.parametrize("verb", [["detect", "train", "x"], ["detect", "evaluate", "x"]])
def test_thresholds_that_are_none(verb, words, capsys):
    assert main([*verb, *words]) == 2
    assert f"{words[0]} is {words[1]}; it must lie between 0 and 1" in capsys.readouterr().err


def test_suppression_across_classes_keeps_the_best_of_what_overlaps():
    model = build_detector("mobilenetv3_small_050", "none", 4).eval()
    with torch.no_grad():
        for predictor in model.head.classes:
            predictor[-1].weight.normal_(std=0.5, generator=torch.Generator().manual_seed(0))
    image = {"image": torch.randint(0, 256, (3, 320, 320), generator=torch.Generator().manual_seed(1))}

    def found(**changes):
        model.find_as(replace(DetectorSpec(), **changes))
        with torch.no_grad():
            return model([image])[0]["instances"]

    from detectron2.structures import pairwise_iou

    alone, apart = found(class_agnostic=True), found()
    overlap = pairwise_iou(alone.pred_boxes, alone.pred_boxes).fill_diagonal_(0)
    assert overlap.max() <= 0.55 + 1e-6
    other = apart.pred_classes[:, None] != apart.pred_classes
    assert (pairwise_iou(apart.pred_boxes, apart.pred_boxes)[other] > 0.55).any()
    model.only = [2]
    assert set(found().pred_classes.tolist()) == {2}
    np.testing.assert_array_equal(found(nms=0.2).pred_classes, 2)


def test_a_start_hands_on_what_its_weights_were_trained_with(tmp_path):
    data = make_coco(tmp_path / "d", train=6, val=2, test=2)
    own = {"pixel_mean": [127.5] * 3, "pixel_std": [127.5] * 3, "norm_eps": 0.001}
    first = train(tiny(data, tmp_path / "first", iterations=1, eval_every=1, recipe=own))
    again = train(tiny(data, tmp_path / "again", iterations=1, eval_every=1, weights=str(first.folder)))
    spec = read_detector_card(again.model)[1]
    assert (spec.pixel_mean, spec.pixel_std, spec.norm_eps) == ((127.5,) * 3, (127.5,) * 3, 0.001)
    assert open_detector(again.folder).model.pixel_mean.flatten().tolist() == [127.5] * 3


def test_anchors_that_no_box_needs(tmp_path, capsys):
    data = str(make_coco(tmp_path / "d", train=6, val=2, test=2))
    words = ["--backbone", "mobilenetv3_small_050", "--weights", "none", "--output", str(tmp_path / "run")]
    assert main(["detect", "train", data, "--anchors", "0.01,0.02", *words]) == 2
    error = capsys.readouterr().err
    assert "--anchors 0.01,0.02 are of a size that no box to train on has at --image-size 320" in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("resize", ["warp", "letterbox"])
def test_the_doctor_and_the_report_count_the_same_boxes_as_reached(tmp_path, capsys, resize):
    """The doctor by the run's description, the report by its network; the images are twice as wide as high."""
    pytest.importorskip("cleanlab", reason="pip install 'mixtransfer[doctor]'")

    def small(coco):
        for image in coco["images"]:
            image["height"] = 32
        for i, annotation in enumerate(coco["annotations"]):
            annotation["bbox"] = [2 + i % 7, 3, 6 + 3 * (i % 6), 5 + 4 * (i % 5)]
            annotation["area"] = annotation["bbox"][2] * annotation["bbox"][3]

    data = make_coco(tmp_path / "d", train=30, val=2, test=2)
    for path in (data / "annotations").glob("*.json"):
        coco = json.loads(path.read_text())
        small(coco)
        path.write_text(json.dumps(coco))
        part = path.stem.removeprefix("instances_")
        for image in coco["images"]:
            Image.new("RGB", (64, 32)).save(data / part / image["file_name"])
    run = train(tiny(data, tmp_path / "r", iterations=1, eval_every=1, resize=resize, anchors="0.2,0.9"))
    trained = open_detector(run.folder)
    dataset = boxes_of_run(run)
    records = [*dataset.train, *dataset.val, *dataset.test]
    reached = anchor_coverage(trained.model, records, trained.spec.square)
    capsys.readouterr()
    main(["doctor", str(data), "--run", str(run.folder), "--output", str(tmp_path / "doctor"), "--json"])
    found = json.loads(capsys.readouterr().out)["statistics"]["boxes"]["covered_by_anchors"]
    assert found["all"] == pytest.approx(reached["all"]) and 0.05 < found["all"] < 0.95
