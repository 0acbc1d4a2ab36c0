"""The page and figures of a detection run."""

from collections.abc import Mapping, Sequence

import numpy as np

from mixtransfer.data.detection.dataset import DetectionDataset, Record, statistics
from mixtransfer.detection.assessment import Assessment
from mixtransfer.detection.bootstrap import DRAWS, FEWEST
from mixtransfer.detection.drawing import draw_detections, draw_truth
from mixtransfer.detection.mistakes import KINDS, count_mistakes
from mixtransfer.detection.options import TrainOptions
from mixtransfer.errors import UserError
from mixtransfer.report import curves, figures
from mixtransfer.report.circumstances import add_circumstances
from mixtransfer.report.page import Page
from mixtransfer.runs.run import Run

WORST_SHOWN = 12
DRAWN_SIDE = 320  # pixels
HEADLINE = {
    "AP": ("Average precision", "mean over IoU 0.5 to 0.95"),
    "AP50": ("AP50", "at IoU 0.5"),
    "AP75": ("AP75", "at IoU 0.75"),
    "APs": ("Small", "area below 32² pixels"),
    "APm": ("Medium", "below 96² pixels"),
    "APl": ("Large", "96² pixels and more"),
    "AR": ("Average recall", "of all detections, mean over IoU 0.5 to 0.95"),
}
CLASS_COLUMNS = (
    "class", "boxes to train on", "test boxes", "test images", "AP", "AP50", "threshold", "precision", "recall", "F1",
)  # fmt: skip


def write_report(
    run: Run,
    options: TrainOptions,
    dataset: DetectionDataset,
    test: Assessment,
    history: Sequence[Mapping[str, float | None]],
    coverage: Mapping[str, float | None],
) -> None:
    """Write ``report.html`` and ``figures/`` of a finished run.

    Args:
        test: Of the test part.
        history: A row an evaluation, as in ``metrics.csv``.
        coverage: Share of the training boxes that some anchor overlaps by IoU 0.5, by size; None without boxes.
    """
    kinds = count_mistakes(test.mistakes)
    drawn = {
        "learning_curves": figures.detector_curves(history),
        "precision_recall": curves.precision_recall(test.scores.precision, dataset.classes),
        "f1": curves.f1_over_threshold(test.f1, dataset.classes, test.thresholds),
        "confusion_matrix": figures.confusion_matrix(test.confusion, [*dataset.classes, "background"]),
        "mistakes": figures.counts(kinds, "detections, or objects missed"),
    }
    figures.save_figures(drawn, run.figures)

    page = Page(f"{options.backbone} SSDLite on {dataset.name}", _summary(dataset, options, test))
    page.headline([(name, _percent(test.scores.ap[key]), _detail(key, test)) for key, (name, _) in HEADLINE.items()])
    for note in dataset.notes:
        page.note(note)
    if dataset.skipped:
        page.warning(f"{len(dataset.skipped)} files could not be used and were left out; they are listed below.")

    page.section("Training")
    stacked = figures.detector_curves(history, stacked=True)
    page.figure(drawn["learning_curves"], "Training losses and validation average precision by iteration.", stacked)

    how = "the best F1" if options.min_precision is None else f"a precision of {options.min_precision:g}"
    page.section(
        "Classes",
        f"Precision, recall and F1 count what is found by IoU 0.5 from the threshold on, which was chosen for {how} on "
        "the validation images. `detect predict` shows what scores more.",
    )
    page.table(CLASS_COLUMNS, _class_rows(dataset, test), "Scores of each class on the test images, in %.")
    narrow = curves.precision_recall(test.scores.precision, dataset.classes, stacked=True)
    page.figure(drawn["precision_recall"], "Precision against recall, each class and their mean.", narrow)
    page.figure(drawn["f1"], "F1 on the test images by threshold; a dot where the threshold of a class is.")
    page.figure(
        drawn["confusion_matrix"],
        "What objects were found as, from the thresholds on: in the last column those that were not found, in the last "
        "row what was found where none of them is.",
    )

    shown = sum(len(one.scores) for one in test.shown)
    page.section(
        "What goes wrong",
        f"From the thresholds on {int(np.diag(test.confusion).sum())} objects are found, by {shown} detections. What a "
        "kind of mistake costs is the gain in AP50 if it were mended and all others stayed, among all detections, "
        "whatever their score.",
    )
    page.figure(drawn["mistakes"], "Kinds of mistakes (after TIDE, Bolya et al. 2020).")
    rows = [[kind, kinds[kind], _percent(test.costs[kind]), meaning] for kind, meaning in KINDS.items()]
    page.table(["kind", "count", "AP50 it costs", "meaning"], rows)

    page.section("Worst images", "Those with the most mistakes: what is there in white, what was detected in colour.")
    page.gallery(_worst(dataset.test, test), DRAWN_SIDE)

    page.section(
        "Do the anchors fit?",
        "A box that no anchor overlaps by half is hard to learn. Anchors scale with the image: a larger --image-size "
        "reaches no more of them. --anchors auto fits them to the boxes; for what is smaller still, cut the images "
        "into tiles.",
    )
    page.table(["boxes", "covered"], [[size, _share(share)] for size, share in coverage.items()])

    add_circumstances(page, options, _facts(history), dataset.skipped, ["detectron2", "faster-coco-eval"])
    page.write(run.report)


def _summary(dataset: DetectionDataset, options: TrainOptions, test: Assessment) -> str:
    start = {"none": "from scratch", "imagenet": "from ImageNet weights"}.get(
        options.weights, f"from {options.weights}"
    )
    return (
        f"{len(dataset.classes)} classes; {len(dataset.train):,} images to train on, {len(dataset.val):,} to validate, "
        f"{len(dataset.test):,} to test. Trained {start} at {options.image_size} pixels, seed {options.seed}. The test "
        f"part was used once, for this page. {_about_intervals(test)}"
    )


def _about_intervals(test: Assessment) -> str:
    if test.intervals is None:
        return f"Its images are too few (below {FEWEST}), or too much alike, for intervals."
    return f"95 % intervals come of {DRAWS:,} draws of its images with replacement, and say nothing of other trainings."


def _detail(key: str, test: Assessment) -> str:
    """What a number of the headline is, with its interval where it has one."""
    detail = HEADLINE[key][1]
    if test.intervals and key in test.intervals:
        low, high = test.intervals[key]
        return f"{low:.1f} to {high:.1f} (95 %), {detail}"
    return detail


def _class_rows(dataset: DetectionDataset, test: Assessment) -> list[list]:
    """The rows of ``CLASS_COLUMNS``, those with the most boxes first."""
    trained = statistics(dataset.train, dataset.classes)["boxes_per_class"]
    rows = [
        [
            name,
            trained[name],
            one["boxes"],
            one["images"],
            *(_percent(one[score]) for score in ("AP", "AP50")),
            f"{one['threshold']:.2f}",
            *(_percent(one[score]) for score in ("precision", "recall", "f1")),
        ]
        for name, one in test.per_class.items()
    ]
    return sorted(rows, key=lambda row: -row[2])


def _worst(records: Sequence[Record], test: Assessment) -> list[tuple]:
    """(picture, caption) of the images with the most mistakes."""
    counts = np.array([len(one.kinds) + len(one.missed) for one in test.mistakes])
    items = []
    for i in np.argsort(-counts, kind="stable")[:WORST_SHOWN]:
        if not counts[i]:
            break
        record, one = records[i], test.mistakes[i]
        try:
            image = record.image()
        except UserError:
            continue
        boxes, labels = record.targets
        image = draw_truth(image, boxes, labels, test.classes)
        image = draw_detections(image, test.shown[i], test.classes)
        items.append((image, f"{len(one.kinds)} wrong, {len(one.missed)} missed · {record.file.name}"))
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
