"""The detection report, and what is drawn in it."""

import detecting  # noqa: F401  skips without detectron2
import numpy as np
import pytest
from boxed import found, record
from PIL import Image

from mixtransfer.data.detection.square import Square
from mixtransfer.detection.coverage import anchor_coverage
from mixtransfer.detection.drawing import draw_detections, draw_truth
from mixtransfer.detection.model import build_detector
from mixtransfer.report.curves import f1_over_threshold, precision_recall


def test_report_of_a_run_is_one_page(finished):
    page = finished.report.read_text(encoding="utf-8")
    sections = ("Classes", "What goes wrong", "Worst images", "Do the anchors fit?", "Resolved configuration")
    for word in ("AP50", "AP50 it costs", "or too much alike, for intervals", "--anchors auto", *sections):
        assert word in page
    assert 'src="http' not in page and 'href="http' not in page
    assert {path.stem for path in finished.figures.glob("*.png")} == {
        "learning_curves", "precision_recall", "f1", "confusion_matrix", "mistakes",
    }  # fmt: skip


@pytest.mark.parametrize("size", [(1, 1), (640, 20), (320, 240)])
@pytest.mark.parametrize("box", [[-5, -5, 900, 900], [10, 10, 60, 50], [5, 5, 5, 5]])
def test_boxes_are_drawn_on_images_of_any_size(size, box):
    image = Image.new("RGB", size, "grey")
    drawn = draw_detections(image, found(1, [box], [0.9], [0]), ["naïve ☃"])
    assert drawn.size == size and image.getpixel((0, 0)) == (128, 128, 128)
    assert draw_truth(image, np.array([box]), np.array([0]), ["cat"]).size == size


def test_box_lies_where_the_object_is():
    drawn = draw_detections(Image.new("RGB", (200, 200)), found(1, [[50, 60, 150, 140]], [0.9], [0]), ["cat"])
    rows, columns = np.nonzero(np.asarray(drawn).sum(axis=2) > 0)
    assert abs(columns.min() - 50) <= 2 and abs(columns.max() - 150) <= 2 and abs(rows.max() - 140) <= 2


def test_coverage_of_boxes_by_anchors():
    """A box of a fifth of the image is an anchor's size; a speck is nobody's."""
    model = build_detector("mobilenetv3_small_050", "none", 2)
    boxes = [[160, 120, 240, 180], [0, 0, 3, 3]]
    assert anchor_coverage(model, [record(1, boxes, [0, 0]), record(2, [], [])], Square(320)) == {
        "all": 0.5, "small": 0.0, "medium": 1.0, "large": None,
    }  # fmt: skip


def lines_of(figure):
    return [[line.get_label() for line in axes.lines if not line.get_label().startswith("_")] for axes in figure.axes]


def test_curves_name_their_classes():
    """Up to ten by name; of more the best and the worst."""
    precision = np.full((10, 101, 12), 0.5) + np.arange(12) / 100
    precision[:, :, 3] = np.nan
    names = [f"class {i}" for i in range(12)]
    few = precision_recall(precision[:, :, :4], names[:4])
    assert len(few.axes) == 3 and [axes.get_title() for axes in few.axes] == ["IoU 0.5", "IoU 0.75", "IoU 0.5 to 0.95"]
    assert set(lines_of(few)[0]) == {"class 0", "class 1", "class 2", "mean of the classes"}
    many = precision_recall(precision, names)
    legend = [text.get_text() for text in many.legends[0].get_texts()]
    assert legend == [f"class {i}" for i in (11, 10, 9, 8, 7, 5, 4, 2, 1, 0)] + ["mean of the classes"]
    (axes,) = f1_over_threshold(precision[0, :, :2], ["cat", "dog"], [0.3, 0.7]).axes
    dots = sorted(line.get_xydata()[0].tolist() for line in axes.lines if line.get_marker() == "o")
    np.testing.assert_allclose(dots, [[0.3, 0.5], [0.7, 0.51]])


def test_curves_of_a_part_without_boxes():
    nothing = precision_recall(np.full((10, 101, 2), np.nan), ["cat", "dog"], stacked=True)
    assert not nothing.legends and lines_of(nothing) == [[], [], []]
