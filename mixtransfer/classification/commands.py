"""The `classify` verbs as the command line runs them: call, then print."""

import json
import sys

from rich.table import Column, Table

from mixtransfer.classification.evaluate import evaluate as evaluate_run
from mixtransfer.classification.metrics import SCORE_NAMES
from mixtransfer.classification.multilabel import MultilabelPredictions, per_label
from mixtransfer.classification.options import EvaluateOptions, PredictOptions, TrainOptions
from mixtransfer.classification.predict import Classifier, RunClassifier, print_predictions
from mixtransfer.classification.predict import predict as predict_images
from mixtransfer.classification.train import train as train_run
from mixtransfer.commandline.console import print_table
from mixtransfer.runs.run import Run


def train(options: TrainOptions) -> int:
    if options.preview:
        from mixtransfer.classification.preview import write_preview

        print(f"Preview: {write_preview(options)}")
        return 0
    run = train_run(options)
    if run is not None:
        print_run(run)
    return 0


def print_run(run: Run) -> None:
    """The table at the end of a training, and where things are."""
    metrics = run.read_metrics()
    _print_scores(metrics["test"], f"Test, {run.folder}", metrics["validation"])
    print(f"Report:  {run.report}")
    print(f"Predict: mixtransfer classify predict {run.folder} IMAGE…")


def evaluate(options: EvaluateOptions) -> int:
    evaluation = evaluate_run(options, say=lambda sentence: print(sentence, file=sys.stderr))
    if evaluation is None:
        return 0
    if options.json:
        print(json.dumps(evaluation.to_dict(), ensure_ascii=False))
        return 0
    images = len(evaluation.predictions.labels)
    _print_scores(
        {name: estimate.to_dict() for name, estimate in evaluation.scores.items()},
        f"{options.run} on {images:,} images",
    )
    if isinstance(evaluation.predictions, MultilabelPredictions):
        _print_labels(per_label(evaluation.predictions, evaluation.classes))
    else:
        _print_confusions(evaluation.predictions.confusion, evaluation.classes)
    return 0


def predict(options: PredictOptions, classifier: Classifier | None = None) -> int:
    """Classify with the run that the options name, or with another classifier."""
    form = "json" if options.json else options.format
    classifier = classifier or RunClassifier(options.run, options.device)
    several = classifier.thresholds is not None
    if not print_predictions(predict_images(options, classifier), form, options.unknown, several):
        print("error: None of the images can be used.", file=sys.stderr)
        return 2
    if options.explain is not None and form == "table":
        print(f"Maps: {options.explain}")
    return 0


def _print_scores(scores: dict, title: str, validation: dict | None = None) -> None:
    caption = "fractions in %, with 95 % intervals" + ("; *: images that chose the settings" if validation else "")
    table = Table(title=title, title_justify="left", caption=caption)
    for column in ("score", "value", "interval", *(["validation*"] if validation else [])):
        table.add_column(column, justify="left" if column == "score" else "right")
    for name, score in scores.items():
        row = [
            SCORE_NAMES[name],
            f"{100 * score['value']:.2f}",
            "–" if score["low"] is None else f"{100 * score['low']:.1f}–{100 * score['high']:.1f}",
        ]
        if validation:
            row.append(f"{100 * validation[name]['value']:.2f}")
        table.add_row(*row)
    print_table(table)


def _print_labels(rows: list[dict]) -> None:
    columns = ("images", "AP", "interval", "precision", "recall", "F1", "threshold")
    table = Table(
        "label",
        *(Column(name, justify="right") for name in columns),
        caption="%, but for the counts; AP: average precision",
    )
    for row in rows:
        own = row["average_precision"]
        parts = (row[name] for name in ("precision", "recall", "f1", "threshold"))
        table.add_row(
            row["class"],
            f"{row['images']:,}",
            f"{100 * own.value:.1f}" if own else "–",
            f"{100 * own.low:.0f}–{100 * own.high:.0f}" if own else "–",
            *("–" if part is None else f"{100 * part:.1f}" for part in parts),
        )
    print_table(table)


def _print_confusions(confusion, classes: list[str], most: int = 30) -> None:
    """The whole matrix of a few classes, the most frequent confusions of many."""
    if len(classes) <= 12:
        table = Table("true \\ predicted", *(name[:12] for name in classes), title="Confusion matrix")
        for name, row in zip(classes, confusion, strict=True):
            table.add_row(name, *(str(count) if count else "·" for count in row))
    else:
        table = Table("true", "predicted", "images", title="Most frequent confusions")
        wrong = [(n, i, j) for i, row in enumerate(confusion) for j, n in enumerate(row) if i != j and n]
        for n, i, j in sorted(wrong, reverse=True)[:most]:
            table.add_row(classes[i], classes[j], str(n))
    print_table(table)
