"""The parts of a classification run's page that are about several labels an image."""

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from mixtransfer.classification.explain import ClassMaps
from mixtransfer.classification.metrics import calibration_bins
from mixtransfer.classification.multilabel import MultilabelPredictions, per_label
from mixtransfer.data.dataset import ImageDataset
from mixtransfer.errors import UserError
from mixtransfer.report import figures
from mixtransfer.report.page import THUMBNAIL, Page

WORST_SHOWN = 24
EACH_SHOWN = 4  # mistakes of a label

Sections = Callable[[Page], None]


def label_sections(
    test: MultilabelPredictions, dataset: ImageDataset, maps: ClassMaps | None
) -> tuple[dict[str, Figure], Sections]:
    """The figures by name, and what adds the sections to the page."""
    rows = per_label(test, dataset.classes)
    bins = calibration_bins(test.probabilities.ravel(), test.labels.ravel().astype(bool))
    scored = {row["class"]: own for row in rows if (own := row["average_precision"])}
    drawn = {"average_precision": figures.estimates(scored), "calibration": figures.calibration(bins, "labels")}

    def add(page: Page) -> None:
        page.section("How well each label is told")
        page.figure(drawn["average_precision"], "Average precision of each label, with its 95 % interval.")
        page.table(
            ["label", "test images", "AP %", "interval", "precision %", "recall %", "F1 %", "threshold %"],
            [_row(row) for row in rows],
            "Precision, recall and F1 at the threshold, which the images to validate on have chosen.",
        )
        pictures, captions, explained = _worst(test, dataset, maps)
        words = "Labels that were said and are not there, and those that were missed."
        if explained:
            words += " On the right the brighter a place, the more it spoke for the label."
        page.section("Surest mistakes", words)
        page.gallery(list(zip(pictures, captions, strict=True)), 2 * THUMBNAIL if explained else THUMBNAIL)
        page.section("Calibration", "When the model says 80 % of a label, is it there four times out of five?")
        page.figure(drawn["calibration"], "How often a label is there against its probability; all labels together.")

    return drawn, add


def _row(row: dict) -> list:
    own = row["average_precision"]
    parts = (row[name] for name in ("precision", "recall", "f1", "threshold"))
    return [
        row["class"],
        row["images"],
        f"{100 * own.value:.1f}" if own else "",
        f"{100 * own.low:.0f}–{100 * own.high:.0f}" if own else "",
        *(f"{100 * part:.1f}" if part is not None else "" for part in parts),
    ]


def worst_mistakes(test: MultilabelPredictions) -> list[tuple[int, int]]:
    """Positions (image, label) of the mistakes whose probability was farthest off, few of each label."""
    off = np.where(test.said != test.labels.astype(bool), np.abs(test.probabilities - test.labels), 0)
    order = np.argsort(-off, axis=None, kind="stable")[: int((off > 0).sum())]
    shown = np.zeros(test.classes, dtype=int)
    found: list[tuple[int, int]] = []
    for i, label in zip(*np.unravel_index(order, off.shape), strict=True):
        if shown[label] < EACH_SHOWN and len(found) < WORST_SHOWN:
            found.append((int(i), int(label)))
            shown[label] += 1
    return found


def _worst(
    test: MultilabelPredictions, dataset: ImageDataset, maps: ClassMaps | None
) -> tuple[list[Image.Image], list[str], bool]:
    """Pictures and captions of the worst mistakes, and whether they show where each label was read from."""
    side = maps.preprocessing.min_side if maps else THUMBNAIL
    pictures, captions, labels = [], [], []
    for i, label in worst_mistakes(test):
        try:
            pictures.append(dataset.test.image(i, min_side=side))
        except UserError:
            continue
        what = "is not there" if test.said[i, label] else "was missed"
        probability = f"{100 * test.probabilities[i, label]:.0f} %"
        captions.append(f"{dataset.classes[label]} ({probability}) {what} · {dataset.test.name(i)}")
        labels.append(label)
    if not (maps and pictures):
        return pictures, captions, False
    views = np.stack([maps.preprocessing.central_view(picture) for picture in pictures])
    try:
        found = maps.explain(views, labels, dataset.classes)
    except UserError:
        return pictures, captions, False
    return [one.beside() for one in found], captions, True
