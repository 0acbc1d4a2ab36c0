"""The `detect` verbs as the command line runs them: call, then print."""

import json
import sys

from rich.table import Column, Table

from mixtransfer.commandline.console import print_table
from mixtransfer.detection.options import DemoOptions, EvaluateOptions, PredictOptions, TrainOptions
from mixtransfer.runs.run import Run

CLASS_COLUMNS = ("AP", "AP50", "threshold", "precision", "recall", "f1", "boxes")


def train(options: TrainOptions) -> int:
    if options.preview:
        from mixtransfer.detection.preview import write_preview

        print(f"Preview: {write_preview(options)}")
        return 0
    from mixtransfer.detection.train import train as train_run

    run = train_run(options)
    if run is not None:
        print_run(run)
    return 0


def print_run(run: Run) -> None:
    """The table at the end of a training, and where things are."""
    print_scores(run.read_metrics()["test"], f"Test, {run.folder}")
    print(f"Report:  {run.report}")
    print(f"Predict: mixtransfer detect predict {run.folder} IMAGE… --output drawn")


def evaluate(options: EvaluateOptions) -> int:
    from mixtransfer.detection.evaluate import evaluate as evaluate_run

    scores = evaluate_run(options).to_dict()
    if options.json:
        print(json.dumps(scores, ensure_ascii=False))
    else:
        print_scores(scores, f"{options.run}, {options.split} part")
    return 0


def predict(options: PredictOptions, detector=None) -> int:
    """Detect with the run that the options name, or with another ``Detector``."""
    from mixtransfer.detection.predict import RunDetector, print_found
    from mixtransfer.detection.predict import predict as predict_run

    detector = detector or RunDetector(
        options.run,
        options.device,
        options.threshold,
        options.max_detections,
        options.classes,
        options.nms,
        options.class_agnostic,
    )
    form = "json" if options.json else options.format

    def say(sentence: str) -> None:
        print(sentence, file=sys.stderr)

    if not print_found(predict_run(options, detector), detector, form, say):
        say("error: None of the images can be used.")
        return 2
    return 0


def demo(options: DemoOptions) -> int:
    """Train on handwritten digits pasted on photographs, and draw what is found."""
    from mixtransfer.detection.demo import run_demo

    print_run(run_demo(options))
    return 0


def print_scores(scores: dict, title: str, most: int = 30) -> None:
    """COCO's average precisions, and those of each class with what is shown of it; older runs have less of this."""
    print(f"{title}: average precision as COCO has it, in %")
    table = Table("score", *(Column(name, justify="right") for name in ("value", "95 % interval")))
    for name, value in scores.items():
        if not name.endswith("_interval") and (value is None or isinstance(value, int | float)):
            interval = scores.get(f"{name}_interval") or []
            table.add_row(name, _percent(value), " to ".join(map(_percent, interval)))
    print_table(table)
    per_class = scores.get("per_class") or {name: {"AP": value} for name, value in scores["classes"].items()}
    columns = [name for name in CLASS_COLUMNS if all(name in one for one in per_class.values())]
    table = Table("class", *(Column(name, justify="right") for name in columns))
    for name, one in sorted(per_class.items(), key=lambda entry: entry[1]["AP"] or 0, reverse=True)[:most]:
        cells = (str(one[column]) if column == "boxes" else _percent(one[column]) for column in columns)
        table.add_row(name, *cells)
    print_table(table)
    if len(per_class) > most:
        print(f"… and {len(per_class) - most} more classes, in the report.")


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
