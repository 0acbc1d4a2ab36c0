"""Thresholds of the classes: the best F1 or a precision on validation, by hand and by trying every score."""

import numpy as np
import pytest
from boxed import found, record

from mixtransfer.detection.assessment import assess, matched
from mixtransfer.detection.thresholds import USUAL, above, are_thresholds, choose, f1_by_threshold, of_each

BOX, AWAY = [0, 0, 50, 50], [200, 200, 250, 250]


def column(right: list[float], wrong: list[float], label: int = 0, start: int = 0, missed: int = 0):
    """An image for each right and wrong score of one class, and for each object that is missed."""
    records, detections = [], []
    for i, score in enumerate([*right, *wrong, *[None] * missed], start + 1):
        box = [BOX] if score is None or i - start <= len(right) else []
        records.append(record(i, box, [label] * len(box)))
        detections.append(found(i, [BOX] if score else [], [score] if score else [], [label] if score else []))
    return records, detections


def chosen(*columns, classes=("cat", "dog"), min_precision=None):
    """The thresholds of images with detections, and what was said."""
    said: list[str] = []
    records, detections = (sum((one[i] for one in columns), []) for i in range(2))
    matches = matched(records, detections, list(classes), list(range(1, len(classes) + 1)))
    return choose(matches, classes, min_precision, said.append), " ".join(said)


def f1_at(right, wrong, boxes, threshold):
    kept = [sum(score > threshold for score in scores) for scores in (right, wrong)]
    return 2 * kept[0] / (sum(kept) + boxes)


def test_no_threshold_has_a_better_f1():
    generator = np.random.default_rng(0)
    for _ in range(20):
        right, wrong = generator.beta(4, 2, 15).round(2).tolist(), generator.beta(2, 4, 20).round(2).tolist()
        values, said = chosen(column(right, wrong, missed=3), classes=["cat"])
        best = max(f1_at(right, wrong, 18, threshold / 100 - 0.005) for threshold in range(101))
        assert f1_at(right, wrong, 18, values["cat"]) == pytest.approx(best) and not said


def test_of_equally_good_ones_the_nearest_to_that_of_all_classes():
    """Any threshold between 0.2 and 0.9 is as good for dogs, who have no wrong ones in between; cats settle at 0.5."""
    cats = column([0.8] * 20 + [0.51] * 20, [0.49] * 30)
    dogs = column([0.9] * 10, [0.2] * 10, label=1, start=100)
    values, said = chosen(cats, dogs)
    assert values["cat"] == pytest.approx(0.5, abs=0.01) == values["dog"] and not said
    dogs = column([0.9] * 10, [0.7] * 10, label=1, start=100)
    assert 0.7 < chosen(cats, dogs)[0]["dog"] == pytest.approx(0.8)
    dogs = column([0.3] * 10, [0.1] * 10, label=1, start=100)
    assert chosen(cats, dogs)[0]["dog"] == pytest.approx(0.3, abs=1e-4)
    # Five of ten without a wrong one, or all with ten: both have an F1 of 2/3.
    dogs = column([0.9] * 5 + [0.45] * 5, [0.48] * 10, label=1, start=100)
    assert chosen(cats, dogs)[0]["dog"] == pytest.approx(0.5)
    dogs = column([0.99] * 5 + [0.5] * 5, [0.98] * 10, label=1, start=100)
    assert chosen(cats, dogs)[0]["dog"] == pytest.approx(0.5, abs=0.01)


def test_classes_of_few_boxes_are_drawn_towards_all_classes_and_it_is_said():
    cats = column([0.8] * 40, [0.4] * 40)
    dogs = column([0.99] * 5, [0.97] * 5, label=1, start=100)
    values, said = chosen(cats, dogs, classes=["cat", "dog", "emu"])
    assert values["cat"] == values["emu"] == pytest.approx(0.6)
    assert values["dog"] == pytest.approx((0.98 + 0.6) / 2)  # five of the ten boxes that it takes
    assert "dog 5, emu 0" in said and "0.60" in said and "cat" not in said


def test_lowest_threshold_of_a_precision():
    right, wrong = [0.9, 0.8, 0.7, 0.6] * 3, [0.75, 0.5, 0.5]
    values, said = chosen(column(right, wrong), classes=["cat"], min_precision=0.9)
    assert 0.5 < values["cat"] < 0.6 and 0.6 - values["cat"] < 1e-4 and not said  # 12 of 13
    (value,) = chosen(column(right, wrong), classes=["cat"], min_precision=0.95)[0].values()
    assert 0.75 < value < 0.8
    assert chosen(column(right, wrong), classes=["cat"], min_precision=0.0)[0]["cat"] < 0.5


def test_a_precision_that_is_not_reached_is_said_and_the_highest_taken():
    dogs = column([0.9] * 10, [0.95] * 10 + [0.2], label=1, start=100)
    values, said = chosen(column([0.8] * 40, []), dogs, min_precision=0.9)
    assert 0.2 < values["dog"] < 0.9 and "dog 0.50" in said and "cat" not in said


def test_what_lies_on_a_crowd_is_neither_right_nor_wrong():
    """As if the ten detections above the others were not there."""
    records, detections = column([0.6] * 10, [0.5] * 10)
    alone, _ = chosen((records, detections), classes=["cat"])
    records += [record(i, [BOX], [0], [True]) for i in range(100, 110)]
    detections += [found(i, [BOX], [0.9], [0]) for i in range(100, 110)]
    assert chosen((records, detections), classes=["cat"])[0] == alone
    assert chosen((records, detections), classes=["cat"], min_precision=0.9)[1] == ""
    f1 = f1_by_threshold(matched(records, detections, ["cat"], [1]))
    assert f1[55, 0] == 1 and f1[70, 0] == 0


@pytest.mark.parametrize("images", [column([], [0.9, 0.8]), column([], [], missed=3)], ids=["wrong", "missed"])
def test_nothing_to_choose_by(images):
    values, said = chosen(images, classes=["cat"])
    assert values is None and "No box of the validation part is found" in said
    assert of_each(None, ["cat", "dog"]) == [USUAL, USUAL]


def test_what_is_shown_scores_more_than_its_class():
    every = found(7, [BOX, BOX, AWAY, AWAY], [0.9, 0.5, 0.5, 0.3], [0, 0, 1, 1])
    few = above(every, [0.5, 0.4])
    assert few.image_id == 7 and few.labels.tolist() == [0, 1] and few.scores.tolist() == pytest.approx([0.9, 0.5])
    assert len(above(every, 0.4).scores) == 3


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        ({"cat": 0.5, "dog": 1}, True),
        ({"cat": 0.5}, False),
        ({"cat": 0.5, "dog": 1.5}, False),
        ({"cat": 0.5, "dog": float("nan")}, False),
        ({"cat": 0.5, "dog": True}, False),
        ([0.5, 0.5], False),
        (None, False),
    ],
)
def test_what_descriptions_may_hold(value, valid):
    assert are_thresholds(value, ["cat", "dog"]) == valid


def test_scores_at_the_thresholds_are_those_of_what_is_shown():
    cats = column([0.8] * 6 + [0.3] * 2, [0.7] * 3, missed=2)
    dogs = column([0.8], [], label=1, start=100)
    records, detections = (cats[i] + dogs[i] for i in range(2))
    records += [record(i, [AWAY, BOX] if i == 900 else [], [1, 1] if i == 900 else []) for i in range(900, 910)]
    detections += [found(i, [], [], []) for i in range(900, 910)]
    test = assess(records, detections, ["cat", "dog", "emu"], [1, 2, 3], [0.5, 0.9, 0.4])
    cat, dog, emu = test.per_class.values()
    assert {name: cat[name] for name in ("precision", "recall", "f1")} == pytest.approx(
        {"precision": 100 * 6 / 9, "recall": 60, "f1": 100 * 12 / 19}
    )
    assert (cat["boxes"], cat["images"], cat["threshold"]) == (10, 10, 0.5)
    assert (dog["precision"], dog["recall"], dog["f1"], dog["AP50"]) == (None, 0, 0, pytest.approx(100 * 34 / 101))
    assert (dog["boxes"], dog["images"]) == (3, 2)
    assert [emu[name] for name in ("AP", "AP50", "precision", "recall", "f1", "boxes")] == [None] * 5 + [0]
    whole = test.to_dict()
    assert whole["recall"] == pytest.approx(100 * 6 / 13) and whole["classes"]["dog"] == dog["AP"]
    low, high = whole["AP_interval"]
    assert low < whole["AP"] < high
    assert whole["mistakes"]["missed"]["count"] == 7  # of which four are never found, whatever the threshold
    assert whole["mistakes"]["missed"]["dAP50"] == pytest.approx(50 * 2 / 10 + 50 * 2 / 3, abs=3)


def test_f1_by_threshold_is_that_of_each_threshold():
    right, wrong = [0.9, 0.6, 0.6], [0.7, 0.2]
    f1 = f1_by_threshold(matched(*column(right, wrong, missed=1), ["cat", "dog"], [1, 2]))
    for i in (0, 30, 65, 80, 95):
        assert f1[i, 0] == pytest.approx(f1_at(right, wrong, 4, i / 100))
    assert np.isnan(f1[:, 1]).all()
