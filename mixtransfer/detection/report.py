"""The page and figures of a detection run."""

from collections.abc import Mapping, Sequence

import numpy as np

from mixtransfer.data.detection.dataset import DetectionDataset, Record, statistics
from mixtransfer.detection.drawing import draw_detections, draw_truth
from mixtransfer.detection.mistakes import KINDS, Mistakes, best_threshold, count_mistakes, judge
from mixtransfer.detection.options import TrainOptions
from mixtransfer.detection.scores import CocoScores, Detections
from mixtransfer.errors import UserError
from mixtransfer.report import figures
from mixtransfer.report.circumstances import add_circumstances
from mixtransfer.report.page import Page
from mixtransfer.run import Run

WORST_SHOWN = 12
DRAWN_SIDE = 320  # pixels
HEADLINE = {
    "AP": ("Average precision", "mean over IoU 0.5 to 0.95"),
    "AP50": ("AP50", "at IoU 0.5"),
    "AP75": ("AP75", "at IoU 0.75"),
    "APs": ("Small", "area below 32² pixels"),
    "APm": ("Medium", "below 96² pixels"),
    "APl": ("Large", "96² pixels and more"),
}


def write_report(
    run: Run,
    options: TrainOptions,
    dataset: DetectionDataset,
    detections: Sequence[Detections],
    scores: CocoScores,
    history: Sequence[Mapping[str, float | None]],
    coverage: Mapping[str, float | None],
) -> None:
    """Write ``report.html`` and ``figures/`` of a finished run.

    Args:
        detections: Of the test images, in their order.
        scores: Of these detections.
        history: A row an evaluation, as in ``metrics.csv``.
        coverage: Share of the training boxes that some anchor overlaps by IoU 0.5, by size; None without boxes.
    """
    threshold = best_threshold(dataset.test, detections)
    mistakes = [judge(record, found, threshold) for record, found in zip(dataset.test, detections, strict=True)]
    kinds = count_mistakes(mistakes)
    drawn = {
        "learning_curves": figures.detector_curves(history),
        "precision_recall": figures.precision_recall(scores.precision),
        "mistakes": figures.counts(kinds, "detections, or objects missed"),
    }
    figures.save_figures(drawn, run.figures)

    page = Page(f"{options.backbone} SSDLite on {dataset.name}", _summary(dataset, options))
    page.headline([(name, _percent(scores.ap[key]), detail) for key, (name, detail) in HEADLINE.items()])
    for note in dataset.notes:
        page.note(note)
    if dataset.skipped:
        page.warning(f"{len(dataset.skipped)} files could not be used and were left out; they are listed below.")

    page.section("Training")
    stacked = figures.detector_curves(history, stacked=True)
    page.figure(drawn["learning_curves"], "Training losses and validation average precision by iteration.", stacked)

    page.section("Classes")
    page.figure(drawn["precision_recall"], "Precision against recall at IoU 0.5, each class and their mean.")
    boxes = statistics(dataset.test, dataset.classes)["boxes_per_class"]
    rows = [[name, boxes[name], _percent(ap)] for name, ap in scores.per_class.items()]
    page.table(["class", "test boxes", "AP"], sorted(rows, key=lambda row: -row[1]), "Average precision of each class.")

    correct = sum(one.correct for one in mistakes)
    page.section(
        "What goes wrong",
        f"At scores from {threshold:.2f} on, where F1 at IoU 0.5 is largest: {correct} objects are found.",
    )
    page.figure(drawn["mistakes"], "Kinds of mistakes (after TIDE, Bolya et al. 2020).")
    page.table(["kind", "count", "meaning"], [[kind, kinds[kind], meaning] for kind, meaning in KINDS.items()])

    page.section("Worst images", "Those with the most mistakes: what is there in white, what was detected in colour.")
    page.gallery(_worst(dataset.test, detections, mistakes, dataset.classes, threshold), DRAWN_SIDE)

    page.section(
        "Do the anchors fit?",
        "A box that no anchor overlaps by half is hard to learn: small ones may need a larger --image-size.",
    )
    page.table(["boxes", "covered"], [[size, _share(share)] for size, share in coverage.items()])

    add_circumstances(page, options, _facts(history), dataset.skipped, ["detectron2", "pycocotools"])
    page.write(run.report)


def _summary(dataset: DetectionDataset, options: TrainOptions) -> str:
    start = {"none": "from scratch", "imagenet": "from ImageNet weights"}.get(
        options.weights, f"from {options.weights}"
    )
    return (
        f"{len(dataset.classes)} classes; {len(dataset.train):,} images to train on, {len(dataset.val):,} to validate, "
        f"{len(dataset.test):,} to test. Trained {start} at {options.image_size} pixels, seed {options.seed}. The test "
        "part was used once, for this page."
    )


def _worst(
    records: Sequence[Record],
    detections: Sequence[Detections],
    mistakes: Sequence[Mistakes],
    classes: list[str],
    threshold: float,
) -> list[tuple]:
    """(picture, caption) of the images with the most mistakes."""
    counts = np.array([len(one.kinds) + len(one.missed) for one in mistakes])
    items = []
    for i in np.argsort(-counts, kind="stable")[:WORST_SHOWN]:
        if not counts[i]:
            break
        record, found = records[i], detections[i]
        try:
            image = record.image()
        except UserError:
            continue
        shown = found.scores >= threshold
        boxes, labels = record.targets
        image = draw_truth(image, boxes, labels, classes)
        image = draw_detections(
            image, Detections(found.image_id, found.boxes[shown], found.scores[shown], found.labels[shown]), classes
        )
        items.append((image, f"{len(mistakes[i].kinds)} wrong, {len(mistakes[i].missed)} missed · {record.file.name}"))
    return items


def _facts(history: Sequence[Mapping[str, float | None]]) -> dict[str, str]:
    return {
        "Training time": f"{sum(row['seconds'] or 0 for row in history) / 60:.1f} minutes with evaluation",
        "Resident memory": f"{history[0]['rss_mb']:.0f} MB at the first evaluation, {history[-1]['rss_mb']:.0f} MB at "
        "the last",
    }


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"
