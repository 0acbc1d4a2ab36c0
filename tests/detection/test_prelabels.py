"""Pre-labels: what is found comes back the same from the readers of others and from our own."""

import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from blobs import Blobs, picture, same_things, save_turned, things_of
from PIL import Image
from pycocotools.coco import COCO

from mixtransfer.data.detection.load import load_detection_dataset
from mixtransfer.detection.options import PredictOptions
from mixtransfer.detection.predict import predict
from mixtransfer.errors import UserError

FORMATS = ("coco", "yolo", "voc", "labelstudio")
SIZE = (256, 128)
PLACES = {  # file → what is in it; rectangles are on the grid of what the detector is shown
    "Schöne Straße 1.png": [(0, (16, 8, 64, 40)), (1, (200, 100, 240, 120))],
    "a/same.jpg": [(1, (32, 32, 96, 96))],
    "b/same.jpg": [(0, (0, 0, 256, 128))],
    "b/same.png": [(0, (128, 16, 160, 48))],
    "leer.png": [],
    "turned.jpg": [(0, (40, 60, 80, 100))],
    **{f"more{i}.png": [(i % 2, (8 * i, 16, 8 * i + 40, 64))] for i in range(8)},
}


@pytest.fixture
def images(tmp_path) -> Path:
    folder = tmp_path / "photos & more"
    for name, things in PLACES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name == "turned.jpg":
            save_turned(picture(SIZE, things), folder / name)
        else:
            picture(SIZE, things).save(folder / name, quality=95)
    return folder


def labelled(images: Path, output: Path, form: str, **options) -> Path:
    """Predict, and give the folder of labels."""
    detector = Blobs(128, least=2)
    found = list(predict(PredictOptions("runs/thing", [str(images)], str(output), format=form, **options), detector))
    assert not any(one.error for one in found)
    return output / form


def expected_by_name(names: dict[str, str]) -> dict[str, list]:
    return {copy: PLACES[original] for original, copy in names.items()}


COPIES = {name: Path(name).name for name in PLACES} | {"b/same.jpg": "b_same.jpg", "b/same.png": "b_same-2.png"}


@pytest.mark.parametrize("form", ["coco", "yolo", "voc"])
def test_our_reader_has_the_boxes_that_were_found(images, tmp_path, form):
    folder = labelled(images, tmp_path / "out", form)
    dataset = load_detection_dataset(str(folder))
    assert dataset.classes == (sorted if form == "voc" else list)(Blobs.classes) and not dataset.skipped
    order = [Blobs.classes.index(name) for name in dataset.classes]
    records = [record for part in dataset.parts.values() for record in part]
    wanted = expected_by_name(COPIES)
    assert {record.file.name for record in records} == set(wanted)
    for record in records:
        assert (record.width, record.height) == SIZE
        labels = np.array([order[label] for label in record.labels], int)
        assert same_things(things_of(record.boxes, labels), wanted[record.file.name], 0.5), record.file.name
        if record.file.name == "turned.jpg":  # a copy, as it is stored
            assert record.file.read_bytes() == (images / "turned.jpg").read_bytes()


def test_what_label_studio_imports_is_read_when_it_is_accepted(images, tmp_path):
    folder = labelled(images, tmp_path / "out", "labelstudio")
    tasks = json.loads((folder / "tasks.json").read_text(encoding="utf-8"))
    config = ElementTree.parse(folder / "config.xml").getroot()
    control, image = config.find("RectangleLabels"), config.find("Image")
    assert [label.get("value") for label in control] == Blobs.classes and image.get("value") == "$image"
    for task in tasks:
        (path,) = parse_qs(urlsplit(task["data"]["image"]).query)["d"]
        assert (folder / path).is_file()
        (prediction,) = task["predictions"]
        assert prediction["model_version"] == "thing" and 0 <= prediction["score"] <= 1
        for result in prediction["result"]:
            assert (result["from_name"], result["to_name"]) == (control.get("name"), image.get("name"))
            assert (result["original_width"], result["original_height"]) == SIZE and result["score"] > 0.4
        task["annotations"] = [{"result": prediction["result"]}]  # as a person who agrees makes it
    (folder / "tasks.json").write_text(json.dumps(tasks))
    dataset = load_detection_dataset(str(folder))
    wanted, order = expected_by_name(COPIES), [Blobs.classes.index(name) for name in dataset.classes]
    records = [record for part in dataset.parts.values() for record in part]
    assert len(records) == len(PLACES)
    for record in records:
        labels = np.array([order[label] for label in record.labels], int)
        assert same_things(things_of(record.boxes, labels), wanted[record.file.name], 0.5)


@pytest.mark.parametrize("name", ["detections.json", "coco/annotations/instances.json"])
def test_pycocotools_loads_it(images, tmp_path, name):
    labelled(images, tmp_path / "out", "coco")
    coco = COCO(str(tmp_path / "out" / name))
    assert {c["id"]: c["name"] for c in coco.loadCats(coco.getCatIds())} == dict(
        zip((3, 7), Blobs.classes, strict=True)
    )
    assert coco.dataset["info"]["description"].endswith("thing")
    for image in coco.loadImgs(coco.getImgIds()):
        assert (image["width"], image["height"]) == SIZE
        things = [
            ((3, 7).index(a["category_id"]), (x, y, x + w, y + h))
            for a in coco.loadAnns(coco.getAnnIds(imgIds=image["id"], areaRng=[1, 1e6], iscrowd=False))
            for x, y, w, h in [a["bbox"]]
        ]
        path = image["file_name"]
        original = {copy: key for key, copy in COPIES.items()}[path] if "coco" in name else path.split("more/", 1)[1]
        assert same_things(things, PLACES[original], 0.5)
    results = [{k: a[k] for k in ("image_id", "category_id", "bbox", "score")} for a in coco.dataset["annotations"]]
    assert len(coco.loadRes(results).anns) == len(coco.anns) == sum(map(len, PLACES.values()))


def test_names_and_turned_pictures_are_told(images, tmp_path, capsys):
    labelled(images, tmp_path / "out", "yolo")
    said = capsys.readouterr().err
    assert "14 images with" in said and "same name have others there: 2" in said and "EXIF turns: 1;" in said


def test_labels_that_are_there_are_not_written_over(images, tmp_path):
    folder = labelled(images, tmp_path / "out", "yolo")
    (folder / "labels" / "leer.txt").write_text("0 0.5 0.5 0.1 0.1\n")  # corrected
    with pytest.raises(UserError, match="holds labels already"):
        labelled(images, tmp_path / "out", "yolo")
    assert (folder / "labels" / "leer.txt").read_text().startswith("0")


@pytest.mark.parametrize("form", FORMATS)
def test_a_folder_is_asked_for(images, form):
    with pytest.raises(UserError, match="by --output FOLDER"):
        list(predict(PredictOptions("r", [str(images)], format=form), Blobs()))


def test_drawn_copies_are_not_trained_on(images, tmp_path):
    """They bear the names that stand in detections.json."""
    labelled(images, tmp_path / "out", "coco")
    for data in (tmp_path / "out" / "detections.json", tmp_path / "out"):
        with pytest.raises(UserError, match="drawn on: use `detect predict --format coco`"):
            load_detection_dataset(str(data))


def test_frames_of_a_video_are_images_of_their_own(tmp_path):
    film = cv2.VideoWriter(str(tmp_path / "film.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, SIZE)
    for i in range(7):
        frame = picture(SIZE, [(0, (16 * i, 16, 16 * i + 48, 64))])
        film.write(cv2.cvtColor(np.asarray(frame), cv2.COLOR_RGB2BGR))
    film.release()
    folder = labelled(tmp_path / "film.mp4", tmp_path / "out", "yolo", stride=3)
    assert [file.name for file in sorted((folder / "images").iterdir())] == [f"film_{i:06}.jpg" for i in (0, 3, 6)]
    records = load_detection_dataset(str(folder), val_fraction=0.3, test_fraction=0.3).parts
    for record in (record for part in records.values() for record in part):
        i = int(record.file.stem[-1])
        assert np.abs(record.boxes - [[16 * i, 16, 16 * i + 48, 64]]).max() <= 4  # of what the codec leaves


def test_a_file_whose_name_is_no_images_becomes_one(tmp_path):
    picture(SIZE, [(0, (16, 16, 64, 64))]).save(tmp_path / ".scan", format="PNG")
    folder = labelled(tmp_path / ".scan", tmp_path / "out", "yolo")
    assert Image.open(folder / "images" / "scan.png").size == SIZE and (folder / "labels" / "scan.txt").read_text()
