"""The page and figures of a classification run."""

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from mixtransfer.classification.explain import ClassMaps
from mixtransfer.classification.kinds import AnyPredictions
from mixtransfer.classification.label_report import Sections, label_sections
from mixtransfer.classification.metrics import (
    SCORE_NAMES,
    Estimate,
    PointEstimate,
    Predictions,
    calibration_bins,
    per_class,
)
from mixtransfer.classification.multilabel import MultilabelPredictions
from mixtransfer.classification.options import TrainOptions
from mixtransfer.data.dataset import Examples, ImageDataset
from mixtransfer.errors import UserError
from mixtransfer.report import figures
from mixtransfer.report.circumstances import add_circumstances
from mixtransfer.report.page import THUMBNAIL, Page
from mixtransfer.runs.run import Run

WORST_SHOWN = 24


def write_report(
    run: Run,
    options: TrainOptions,
    dataset: ImageDataset,
    test: AnyPredictions,
    scores: dict[str, dict[str, Estimate | PointEstimate]],
    history: list[dict],
    seconds: float,
    maps: ClassMaps | None = None,
) -> None:
    """Write ``report.html`` and ``figures/`` of a finished run.

    Args:
        test: The predictions on the test set.
        scores: Scores by part: "validation" and "test".
        history: A row an epoch, as in ``metrics.csv``.
        maps: What tells where the network reads a class from.
        seconds: What fine-tuning took, that of folds with it.
    """
    if isinstance(test, MultilabelPredictions):
        drawn, add_sections = label_sections(test, dataset, maps)
    else:
        drawn, add_sections = _class_sections(test, dataset, maps)
    drawn["learning_curves"] = figures.learning_curves(history)
    figures.save_figures(drawn, run.figures)

    page = Page(f"{options.backbone} on {dataset.name}", _summary(dataset, options))
    page.headline([_tile(name, estimate) for name, estimate in scores["test"].items()])
    for note in dataset.notes:
        page.note(note)
    if dataset.skipped:
        page.warning(f"{len(dataset.skipped)} files could not be used and were left out; they are listed below.")

    page.section("Training", "Epoch 0 is the head fitted on the frozen backbone's features.")
    stacked = figures.learning_curves(history, stacked=True)
    page.figure(drawn["learning_curves"], "Loss and validation score by epoch.", narrow=stacked)
    add_sections(page)
    add_circumstances(page, options, _facts(history, seconds), dataset.skipped)
    page.write(run.report)


def _class_sections(
    test: Predictions, dataset: ImageDataset, maps: ClassMaps | None
) -> tuple[dict[str, Figure], Sections]:
    """The figures by name, and what adds the sections on one class an image to the page."""
    rows = per_class(test, dataset.classes)
    bins = calibration_bins(test.confidence, test.predicted == test.labels)
    drawn = {
        "confusion_matrix": figures.confusion_matrix(test.confusion, dataset.classes),
        "calibration": figures.calibration(bins),
    }

    def add(page: Page) -> None:
        _add_class_sections(page, test, dataset, maps, drawn, rows)

    return drawn, add


def _add_class_sections(
    page: Page,
    test: Predictions,
    dataset: ImageDataset,
    maps: ClassMaps | None,
    drawn: dict[str, Figure],
    rows: list[dict],
) -> None:
    page.section("What is confused with what")
    page.figure(drawn["confusion_matrix"], "Share of each true class (rows) that was predicted as each class.")
    page.table(
        ["class", "test images", "accuracy %", "interval", "precision %", "most often taken for"],
        [_class_row(row) for row in rows],
        "Each class; intervals of 95 %.",
    )

    worst = _worst(test, dataset.test, maps.preprocessing.min_side if maps else THUMBNAIL)
    explained = _explained(worst, test, dataset.classes, maps) if maps else []
    brighter = " On the right the brighter a place, the more it spoke for the wrong class." if explained else ""
    page.section("Most confidently wrong", f"The test images whose wrong answer was the surest.{brighter}")
    pictures = explained or [image for _, image in worst]
    captions = [_caption(i, test, dataset) for i, _ in worst]
    page.gallery(list(zip(pictures, captions, strict=True)), 2 * THUMBNAIL if explained else THUMBNAIL)

    page.section("Calibration", "When the model says 80 %, is it right four times out of five?")
    page.figure(drawn["calibration"], "Accuracy against confidence, and how often each confidence occurs.")


def _summary(dataset: ImageDataset, options: TrainOptions) -> str:
    start = {"none": "from scratch", "imagenet": "from ImageNet weights"}.get(
        options.weights, f"from {options.weights}"
    )
    what = "labels" if dataset.is_multilabel else "classes"
    return (
        f"{len(dataset.classes)} {what}; {len(dataset.train):,} images to train on, {len(dataset.val):,} to "
        f"validate, {len(dataset.test):,} to test. Trained {start} at {options.image_size} pixels, "
        f"seed {options.seed}. The test set was used once, for this page."
    )


def _tile(name: str, estimate: Estimate | PointEstimate) -> tuple[str, str, str]:
    if isinstance(estimate, PointEstimate):
        detail = estimate.reason
    else:
        detail = f"95 % interval {100 * estimate.low:.1f}–{100 * estimate.high:.1f} %"
    return SCORE_NAMES[name], f"{100 * estimate.value:.2f} %", detail


def _class_row(row: dict) -> list:
    accuracy, precision = row["accuracy"], row["precision"]
    return [
        row["class"],
        row["images"],
        f"{100 * accuracy.value:.1f}" if accuracy else "",
        f"{100 * accuracy.low:.0f}–{100 * accuracy.high:.0f}" if accuracy else "",
        f"{100 * precision:.1f}" if precision is not None else "",
        row["confused_with"],
    ]


def _worst(test: Predictions, examples: Examples, side: int) -> list[tuple[int, Image.Image]]:
    """Positions and images of the surest mistakes, decoded so that the shorter sides have so many pixels or more."""
    wrong = np.flatnonzero(test.predicted != test.labels)
    surest = wrong[np.argsort(-test.confidence[wrong])][:WORST_SHOWN]
    items = []
    for i in surest.tolist():
        try:
            items.append((i, examples.image(i, min_side=side)))
        except UserError:
            continue
    return items


def _explained(
    items: list[tuple[int, Image.Image]], test: Predictions, classes: list[str], maps: ClassMaps
) -> list[Image.Image]:
    """What the network was shown of each image, and on its right where its class was read from; [] if none can tell."""
    if not items:
        return []
    views = np.stack([maps.preprocessing.central_view(image) for _, image in items])
    try:
        found = maps.explain(views, [int(test.predicted[i]) for i, _ in items], classes)
    except UserError:
        return []
    return [one.beside() for one in found]


def _caption(i: int, test: Predictions, dataset: ImageDataset) -> str:
    said = f"{dataset.classes[test.predicted[i]]} ({100 * test.confidence[i]:.0f} %)"
    return f"{said}, is {dataset.classes[test.labels[i]]} · {dataset.test.name(i)}"


def _facts(history: list[dict], seconds: float) -> dict[str, str]:
    epochs = [row for row in history if row["epoch"] > 0]
    if not epochs:
        return {"Training time": "none: the head on frozen features is used as it is"}
    return {
        "Training time": f"{seconds / 60:.1f} minutes for {len(epochs)} epochs",
        "Resident memory": f"{epochs[0]['rss_mb']:.0f} MB after the first epoch, {epochs[-1]['rss_mb']:.0f} MB "
        "after the last",
    }
