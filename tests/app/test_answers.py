"""Files that cannot be used are answered with a sentence, and the others with what is in them."""

import csv
import io
import json
import re
import zipfile

import numpy as np
from app_runs import NAMES
from PIL import Image

from mixtransfer.answers import Classification
from mixtransfer.app.answers import Answer, Answers, Looked, look
from mixtransfer.app.downloads import as_csv, as_json, as_zip, draw
from mixtransfer.app.html import heading, show
from mixtransfer.app.models import Model
from mixtransfer.detection.scores import Detections


def _look(paths, models, most=24):
    told = []
    answers = look(paths, models, most, 1, lambda done, total: told.append((done, total)))
    return answers, told


def test_bad_files_among_good_ones(classifiers, images, bad_files):
    answers, told = _look([images[0], *bad_files, images[1]], classifiers)
    assert [image.name for image in answers.images] == ["photo0.jpg", "photo1.jpg"]
    assert sorted(answers.left_out) == [
        "cut.jpg is truncated.",
        "huge.png has 100 megapixels, more than the 64 that this page takes.",
        "notes.txt is not an image, whatever its name says.",
    ]
    assert told[0] == (0, 4)


def test_fifty_files_at_once(classifiers, images):
    answers, _ = _look([images[0]] * 50, classifiers)
    assert len(answers.images) == 24
    assert answers.left_out == ["50 files are too many at once: the first 24 are shown; drop the others after them."]
    assert len({image.name for image in answers.images}) == 24, "files of one name can be told apart"


def test_a_file_beyond_the_limit(classifiers, images, tmp_path):
    (tmp_path / "big.jpg").write_bytes(images[0].read_bytes() + bytes(1_200_000))
    answers, _ = _look([tmp_path / "big.jpg", images[0]], classifiers)
    assert answers.left_out == ["big.jpg has 1.2 MB, more than the 1 that this page takes."]
    assert len(answers.images) == 1


def test_an_image_beyond_pillows_own_limit(classifiers, tmp_path):
    Image.new("1", (20_000, 10_000)).save(tmp_path / "bomb.png")
    answers, _ = _look([tmp_path / "bomb.png"], classifiers)
    assert answers.left_out == ["bomb.png has more than 178 million pixels."]


def test_only_unusable_files(classifiers, bad_files, tmp_path):
    answers, _ = _look(bad_files, classifiers)
    page = show(answers, [0, 1], 0.4, tmp_path)
    assert page.count('role="alert"') == 3
    assert "Download" not in page


def test_names_are_escaped_everywhere(classifiers, images, tmp_path):
    path = tmp_path / "<img src=x onerror=alert(2)>.jpg"
    path.write_bytes(images[0].read_bytes())
    text = tmp_path / "<b>.txt"
    text.write_text("no image")
    answers, _ = _look([path, text], classifiers)
    page = show(answers, [0, 1], 0.4, tmp_path) + heading(classifiers)
    assert "&lt;script&gt;" in page
    assert "&lt;img src=x" in page
    assert "&lt;b&gt;.txt" in page
    assert not re.search(r"<script|<img src=x|<b>\.txt", page)


def test_tables_hold_the_answers(classifiers, images):
    answers, _ = _look(images, classifiers)
    rows = list(csv.DictReader(io.StringIO(as_csv(answers, 0.4))))
    described = json.loads(as_json(answers, 0.4))["images"]
    assert len(rows) == len(images) * len(classifiers) * len(NAMES)
    for number, model in enumerate(classifiers):
        expected = answers.images[1].answers[number].seen.top()
        in_csv = [row for row in rows if row["image"] == "photo1.jpg" and row["model"] == model.name]
        assert [row["class"] for row in in_csv] == [name for name, _ in expected]
        in_json = described[1]["models"][model.name]
        assert [one["class"] for one in in_json["top"]] == [name for name, _ in expected]
        assert in_json["ms"] > 0


def test_images_of_none_of_the_classes_are_told(images, tmp_path):
    seen = [Classification(["cat", "dog"], np.array([0.9, 0.1], np.float32), known) for known in (0.04, 0.06, None)]
    model = Model("one", "classification", "none", ["cat", "dog"], 32, lambda image: seen[0])
    shown = []
    for one in seen:
        answers = Answers([model], [Looked("a.jpg", 1.0, images[0].read_bytes(), [Answer(one, 3.0)])], [])
        shown.append("Looks like none of the classes" in show(answers, [0], None, tmp_path))
        (entry,) = json.loads(as_json(answers, None))["images"]
        assert entry["models"]["one"].get("known") == one.known
    assert shown == [True, False, False]


def test_the_models_that_are_asked_for_are_shown(classifiers, images, tmp_path):
    answers, _ = _look(images[:1], classifiers)
    both, second = show(answers, [0, 1], 0.4, tmp_path), show(answers, [1], 0.4, tmp_path)
    assert both.count("<section>") == 2
    assert second.count("<section>") == 1
    assert "<b>first</b>" in both and "<b>first</b>" not in second


def _two_boxes() -> Answers:
    """Two boxes on a white image that was four times as large, one of a low score."""
    boxes = np.array([[40, 40, 360, 200], [0, 0, 400, 400]], np.float32)
    found = Detections(1, boxes, np.array([0.9, 0.3], np.float32), np.array([1, 0]))
    data = io.BytesIO()
    Image.new("RGB", (100, 100), "white").save(data, "JPEG")
    model = Model("../far/../away", "detection", "none", ["cat", "dog"], None, lambda image: found, [0.2, 0.95])
    return Answers([model], [Looked("../../up.jpg", 0.25, data.getvalue(), [Answer(found, 3.0)])], [])


def test_boxes_are_drawn_at_their_place_above_the_threshold():
    answers = _two_boxes()
    (few,), (many,) = (draw(answers, threshold).values() for threshold in (0.4, 0.2))
    for data, left in ((few, 10), (many, 0)):
        dark = np.asarray(Image.open(io.BytesIO(data)).convert("L")) < 200
        assert abs(int(np.flatnonzero(dark.any(0))[0]) - left) <= 2
    assert '"dog"' in as_json(answers, 0.4) and '"cat"' not in as_json(answers, 0.4)
    (row,) = csv.DictReader(io.StringIO(as_csv(answers, 0.4)))
    assert [row["class"], row["x1"], row["y2"]] == ["dog", "40.0", "200.0"]


def test_without_a_threshold_each_class_has_its_own(tmp_path):
    """The cat's 0.3 is enough, the dog's 0.9 is not."""
    answers = _two_boxes()
    assert '"cat"' in as_json(answers, None) and '"dog"' not in as_json(answers, None)
    page = show(answers, [0], None, tmp_path)
    assert "1 box" in page and "2 boxes" in show(answers, [0], 0.2, tmp_path)
    answers.models[0].thresholds[0] = 0.4
    assert "Nothing scores more than its class" in show(answers, [0], None, tmp_path)


def test_drawn_images_stay_in_their_folder(tmp_path):
    answers = _two_boxes()
    page = show(answers, [0], 0.4, tmp_path)
    assert f"gradio_api/file={tmp_path}/boxes.zip" in page
    with zipfile.ZipFile(tmp_path / "boxes.zip") as archive:
        (name,) = archive.namelist()
    assert ".." not in name.split("/")
    assert zipfile.ZipFile(io.BytesIO(as_zip(draw(answers, 0.4)))).namelist() == [name]
