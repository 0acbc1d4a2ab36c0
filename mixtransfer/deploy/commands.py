"""The verbs of deployment as the command line runs them: call, then print."""

import json
import shlex

from mixtransfer.classification.options import PredictOptions as ClassifyOptions
from mixtransfer.commandline.console import print_table
from mixtransfer.common.messages import silent
from mixtransfer.deploy.options import BenchmarkOptions, ExportOptions, PushOptions
from mixtransfer.detection.options import PredictOptions as DetectOptions
from mixtransfer.errors import UserError


def export(options: ExportOptions) -> int:
    from mixtransfer.deploy.export import export as export_run

    written = export_run(options)
    if options.json:
        print(json.dumps(written.to_dict(), ensure_ascii=False))
        return 0
    print(written.parity or f"Not compared with PyTorch: only a Mac runs {written.path.name}.")
    if written.int8:
        print(written.int8)
    if options.format == "web":
        folder = written.path.parent
        print(f"Export:  {folder} ({written.size / 1e6:.1f} MB), for any static file server; to see it here:")
        print(f"python -m http.server --bind 127.0.0.1 --directory {shlex.quote(str(folder))}")
        return 0
    print(f"Export:  {written.path} ({written.size / 1e6:.1f} MB), with {', '.join(x.name for x in written.beside)}")
    return 0


def benchmark(options: BenchmarkOptions) -> int:
    from rich.box import SIMPLE
    from rich.table import Table

    from mixtransfer.deploy.benchmark import benchmark as measure_model
    from mixtransfer.deploy.benchmark_report import COLUMNS, cells, peaks, write_benchmark
    from mixtransfer.deploy.runtimes import RUNTIMES

    result = measure_model(options, silent if options.json else print)
    page = write_benchmark(options, result)
    if options.json:
        print(json.dumps(result.to_dict()))
        return 0
    title = f"{result.name} at {result.image_size} pixels"
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "runtime" else "right", no_wrap=True)
    for speed in result.speeds:
        table.add_row(*cells(speed))
    print_table(table)
    print(peaks(result))
    for runtime, reason in result.unavailable.items():
        print(f"{RUNTIMES[runtime].label}: {reason}")
    print(f"Report: {page}")
    return 0


def push(options: PushOptions) -> None:
    from mixtransfer import hub

    place = hub.push(**vars(options))
    print(f"{'Published' if options.output is None else 'Written'}: {place}")


def classify(options: ClassifyOptions) -> int:
    """`classify predict` with a run or an exported file."""
    from mixtransfer.classification.commands import predict
    from mixtransfer.deploy.exported import is_exported

    if not is_exported(options.run):
        return predict(options)
    from mixtransfer.deploy.predict import ExportedClassifier

    return predict(options, ExportedClassifier(options.run, options.device))


def detect(options: DetectOptions) -> int:
    """`detect predict` with a run or an exported file; the latter needs no detectron2."""
    from mixtransfer.deploy.exported import is_exported
    from mixtransfer.detection.commands import predict

    if not is_exported(options.run):
        return predict(options)
    from mixtransfer.common.ranges import check_ranges
    from mixtransfer.deploy.predict import ExportedDetector
    from mixtransfer.detection.spec import LARGEST_MOST

    check_ranges(options, max_detections=(1, LARGEST_MOST))
    for name in ("nms", "class_agnostic"):
        if getattr(options, name) is not None:
            option = f"--{name.replace('_', '-')}"
            raise UserError(f"{option} is settled in exported files: export the run with {option}.")
    return predict(
        options,
        ExportedDetector(options.run, options.threshold, options.classes, options.max_detections, options.device),
    )
