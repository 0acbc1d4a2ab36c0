"""`detect train --preview`: what a detector would see, boxes drawn."""

import base64
import io
import re
from dataclasses import replace

import detecting  # noqa: F401  skips without detectron2
import numpy as np
from coco_sets import make_coco
from detect_tiny import tiny
from PIL import Image

from mixtransfer.commandline.cli import main
from mixtransfer.data.detection.augment import as_detection_augment
from mixtransfer.data.detection.load import load_detection_dataset
from mixtransfer.detection.loader import IterationBatches
from mixtransfer.detection.mapper import TrainingMapper, to_dataset_dict
from mixtransfer.detection.preview import write_preview


def test_boxes_are_drawn_where_the_objects_are(tmp_path, capsys):
    """One object in each image, all of which is red."""
    data = make_coco(tmp_path / "d", _one_object, train=20)
    for path in (data / "train").iterdir():
        Image.new("RGB", (64, 48), (120, 0, 0)).save(path)
    page = write_preview(tiny(data, tmp_path / "r", augment="crop-flip")).read_text()
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    captions = re.findall(r"<span>(.*?)</span></li>", page)
    assert len(found) == len(captions) == 3 * 4 + 2 and "COCO" in page
    drawn = 0
    for one, caption in zip(found, captions, strict=True):
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(one))).convert("L")).astype(int)
        assert re.fullmatch(r"\d+\.jpg, [01] box(es)?", caption)
        drawn += caption.endswith("1 box")
        # The frame and its label are in black and white, on red.
        assert (pixels > 230).any() == caption.endswith("1 box")
    assert drawn >= 10


def _one_object(coco: dict) -> dict:
    coco["annotations"] = coco["annotations"][::2]
    return coco


def test_nothing_is_trained(digits, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["detect", "train", str(digits), "--image-size", "96", "--batch-size", "4", "--preview"]
    assert main(words) == 0 and "Preview: runs/set-preview.html" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["set-preview.html"]
    assert main([*words, "--image-size", "8"]) == 2
    assert main(["doctor", str(digits), "--preview", "--output", "doc"]) in (0, 1)
    assert (tmp_path / "doc" / "preview.html").exists()


def test_the_page_has_the_views_of_the_training(tmp_path):
    """Its augmentation, and the seeds of its first batches."""
    data = make_coco(tmp_path / "d", train=20)
    options = tiny(data, tmp_path / "r", augment="standard")
    pages = {
        name: write_preview(replace(options, **changes), tmp_path / f"{name}.html", lambda _: None).read_text()
        for name, changes in (("one", {}), ("again", {}), ("seed", {"seed": 5}), ("plain", {"augment": "none"}))
    }
    views = {name: re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page) for name, page in pages.items()}
    assert views["one"] == views["again"]
    assert views["one"][-2:] == views["seed"][-2:] == views["plain"][-2:]  # those to validate on
    assert views["one"][:12] != views["seed"][:12] and views["one"][:12] != views["plain"][:12]
    dataset = load_detection_dataset(str(data))
    batch = next(iter(IterationBatches(len(dataset.train), options.batch_size, options.seed)))
    mapper = TrainingMapper(as_detection_augment("standard", options.image_size))
    for (index, seed), one in zip(batch, views["one"], strict=False):
        view = mapper.view(to_dataset_dict(dataset.train[index]), seed)
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))).astype(int)
        apart = np.abs(view["image"].permute(1, 2, 0).numpy().astype(int) - shown).mean(axis=2)
        assert np.median(apart) < 12  # as a JPEG, but where boxes are drawn
