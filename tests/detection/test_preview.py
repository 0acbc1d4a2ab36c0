"""`detect train --preview`: what a detector would see, boxes drawn."""

import base64
import io
import re

import detecting  # noqa: F401  skips without detectron2
import numpy as np
from coco_sets import make_coco
from detect_tiny import tiny
from PIL import Image

from mixtransfer.cli import main
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
