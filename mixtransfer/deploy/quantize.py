"""8-bit integers by post-training quantization, and what they cost in accuracy.

Weights become int8 by channel; the ranges of activations are measured on training images of the run's data. What
follows the last convolution stays as it is: the classifier, for which int8 was slower, or the decoding of boxes.
Accuracy before and after is measured on the validation part: the test part chooses nothing.
"""

import importlib.util
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mixtransfer.deploy.exported import Exported, open_exported
from mixtransfer.deploy.metadata import KEY, square_of
from mixtransfer.deploy.network import Rule
from mixtransfer.deploy.options import ExportOptions
from mixtransfer.deploy.runtimes import FORMATS
from mixtransfer.deploy.runtimes.base import quiet
from mixtransfer.deploy.runtimes.openvino import openvino_core
from mixtransfer.deploy.source import Source
from mixtransfer.errors import UserError

CALIBRATION, SCORED = 200, 1000  # images at most
RULE = Rule(True, "dense")  # 1×1 convolutions in groups are slower in int8 than ordinary ones with zeros

SILENT, USUAL = 4, 2  # ONNX Runtime's severities: fatal, warning

_CONVOLUTIONS = {"Conv", "Convolution", "GroupConvolution"}


@dataclass(frozen=True)
class Quantization:
    """What int8 changed, on labelled images.

    Attributes:
        score: What is compared: "top-1 accuracy" or "average precision".
        before, after: In percent, of the exported file in float32 and in int8.
        images: How many images it was measured on.
        limit: Points that may be lost.
    """

    score: str
    before: float
    after: float
    images: int
    limit: float

    @property
    def holds(self) -> bool:
        """Within the limit; of few images one may be lost, whatever its share."""
        one = 100 / self.images if self.score == "top-1 accuracy" else 0.0
        return self.before - self.after <= max(self.limit, one) + 1e-9

    def to_dict(self) -> dict:
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"int8: {self.score} {self.after:.2f} % instead of {self.before:.2f} % on {self.images} validation images "
            f"({self.after - self.before:+.2f} points; {self.limit:g} may be lost)."
        )


def check_int8(options: ExportOptions) -> None:
    """
    Raises:
        UserError: ``--int8`` does not go with the other options, or NNCF is not installed.
    """
    formats = [name for name, runtime in FORMATS.items() if "int8" in runtime.precisions]
    if options.format not in formats:
        raise UserError(f"--int8 is for {', '.join(formats[:-1])} and {formats[-1]}, not for {options.format}.")
    if options.raw:
        raise UserError("--int8 measures what it costs on boxes, which --raw leaves out: give one of the two.")
    if not 0 <= options.int8_limit <= 100:
        raise UserError(f"--int8-limit is {options.int8_limit}; it must lie between 0 and 100 points.")
    if options.format == "openvino" and importlib.util.find_spec("nncf") is None:
        raise UserError("--int8 needs the package nncf for openvino: pip install 'mixtransfer[export]'.")


@dataclass(frozen=True)
class LabelledViews:
    """What int8 is calibrated on and judged by.

    Attributes:
        calibration: Views of training images, uint8 (n, size, size, 3).
        score: What ``judge`` gives; see ``Quantization``.
        judge: The score of an exported file on the validation images, in percent; takes a title for its progress too.
        images: How many these are.
    """

    calibration: np.ndarray
    score: str
    judge: Callable[[Exported, str], float]
    images: int


def labelled_views(source: Source) -> LabelledViews:
    """Views of the data that a run was trained on.

    Raises:
        UserError: It is not there any more, or has no validation images.
    """
    return _of_classifier(source) if source.is_classifier else _of_detector(source)


def quantize(made: Path, views: LabelledViews, limit: float) -> Quantization:
    """Rewrite an exported file in int8, unless that costs too much.

    Args:
        made: An ONNX or OpenVINO file in float32; of a detector with decoding inside.
        limit: Points of accuracy, or of average precision, that may be lost.

    Raises:
        UserError: More than the limit would be lost.
    """
    exported = open_exported(made)
    before = views.judge(exported, "float32")
    quantize_file(made, [exported.to_input(view[None]) for view in views.calibration])
    after = views.judge(open_exported(made), "int8")
    outcome = Quantization(views.score, before, after, views.images, limit)
    if not outcome.holds:
        raise UserError(
            f"The int8 export is not written, because it loses too much: {views.score} {after:.2f} % instead of "
            f"{before:.2f} %; allow it with --int8-limit {np.ceil(10 * (before - after)) / 10:g}, or stay with float32."
        )
    return outcome


def quantize_file(path: Path, inputs: Sequence[np.ndarray]) -> None:
    """Rewrite an exported ONNX or OpenVINO file in int8, its metadata included.

    Each with the tool whose result its runtime computes in int8 throughout: ONNX Runtime took three times as long for
    a network that NNCF had quantized as for the float32 one.

    Args:
        inputs: What its graph takes, of one image each, to measure ranges of activations on.
    """
    with quiet():
        (_quantize_onnx if path.suffix == ".onnx" else _quantize_openvino)(path, inputs)


def _quantize_onnx(path: Path, inputs: Sequence[np.ndarray]) -> None:
    import onnx
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    model = onnx.load(path)
    name = model.graph.input[0].name

    class Reader(CalibrationDataReader):
        images = iter(inputs)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self.images, None)
            return None if image is None else {name: image}

    nodes = [(node.name, node.op_type, list(node.input), list(node.output)) for node in model.graph.node]
    beside = path.with_name(f"{path.stem}-int8.onnx")
    onnxruntime.set_default_logger_severity(SILENT)  # its own sessions print past Python's streams
    try:
        quantize_static(
            path, beside, Reader(), activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, per_channel=True,
            nodes_to_exclude=_after_convolutions(nodes),
        )  # fmt: skip
    finally:
        onnxruntime.set_default_logger_severity(USUAL)
    quantized = onnx.load(beside)
    onnx.helper.set_model_props(quantized, {entry.key: entry.value for entry in model.metadata_props})
    onnx.save(quantized, beside)
    beside.replace(path)


def _quantize_openvino(path: Path, inputs: Sequence[np.ndarray]) -> None:
    import nncf
    import openvino

    nncf.set_log_level(logging.ERROR)
    model = openvino_core().read_model(path)
    nodes = [
        (
            node.get_friendly_name(),
            node.get_type_name(),
            [value.get_node().get_friendly_name() for value in node.input_values()],
            [node.get_friendly_name()],
        )
        for node in model.get_ordered_ops()
    ]
    made = nncf.quantize(
        model,
        nncf.Dataset(inputs),
        preset=nncf.QuantizationPreset.MIXED,  # swish has negative values: activations get a zero point
        subset_size=len(inputs),
        ignored_scope=nncf.IgnoredScope(names=_after_convolutions(nodes), validate=False),
    )
    if model.has_rt_info([KEY]):
        made.set_rt_info(model.get_rt_info([KEY]).astype(str), [KEY])
    # Whoever has read the old file has its weights mapped into memory: they must not be written over.
    beside = path.with_name(f"{path.stem}-int8.xml")
    openvino.save_model(made, beside, compress_to_fp16=False)
    for suffix in (".bin", ".xml"):
        beside.with_suffix(suffix).replace(path.with_suffix(suffix))


def _after_convolutions(nodes: Sequence[tuple[str, str, list[str], list[str]]]) -> list[str]:
    """Names of the nodes whose results reach no convolution.

    Args:
        nodes: (name, type, names of inputs, names of outputs), in topological order.
    """
    needed: set[str] = set()  # values that a convolution is computed from
    names = []
    for name, kind, inputs, outputs in reversed(nodes):
        if kind in _CONVOLUTIONS or needed.intersection(outputs):
            needed.update(inputs)
        elif kind not in ("Constant", "Parameter", "Result"):
            names.append(name)
    return names


def _of_classifier(source: Source) -> LabelledViews:
    from mixtransfer.classification.multilabel import MultilabelPredictions, mean_average_precision

    dataset = _loaded(source)
    train, val = dataset.train, dataset.val
    chosen = _spread(len(val), SCORED)
    views = np.stack([source.view(val.image(i)) for i in chosen])

    def judge_labels(exported: Exported, title: str) -> float:
        first = exported.metadata.outputs[0]
        answers = [exported(view[None])[first] for view in tqdm(views, title, leave=False, disable=None)]
        return 100 * mean_average_precision(MultilabelPredictions(np.concatenate(answers), val.labels[chosen]))

    def judge(exported: Exported, title: str) -> float:
        right = 0
        for view, label in zip(tqdm(views, title, leave=False, disable=None), val.labels[chosen], strict=True):
            answer = exported(view[None])[exported.metadata.outputs[0]]
            right += int(answer.argmax() == label)
        return 100 * right / len(views)

    calibration = np.stack([source.view(train.image(i)) for i in _spread(len(train), CALIBRATION)])
    if source.task == "multilabel":
        return LabelledViews(calibration, "mean average precision", judge_labels, len(views))
    return LabelledViews(calibration, "top-1 accuracy", judge, len(views))


def _of_detector(source: Source) -> LabelledViews:
    from mixtransfer.detection.scores import Detections, coco_scores

    dataset = _loaded(source)
    records = [dataset.val[i] for i in _spread(len(dataset.val), SCORED)]
    views = np.stack([source.view(record.image()) for record in records])

    def judge(exported: Exported, title: str) -> float:
        found = []
        for record, view in zip(records, tqdm(views, title, leave=False, disable=None), strict=True):
            answer = exported(view[None])
            boxes, scores, labels = (answer[name][0] for name in ("boxes", "scores", "labels"))
            kept = scores > 0
            boxes = square_of(source.preprocessing).back(boxes[kept], record.width, record.height)
            found.append(Detections(record.image_id, boxes, scores[kept], labels[kept]))
        return coco_scores(records, found, source.classes, source.details["category_ids"]).ap["AP"] or 0.0

    chosen = _spread(len(dataset.train), CALIBRATION)
    calibration = np.stack([source.view(dataset.train[i].image()) for i in chosen])
    return LabelledViews(calibration, "average precision", judge, len(views))


def _loaded(source: Source) -> Any:
    assert source.run
    try:
        dataset = source.data()
    except (UserError, OSError) as error:
        raise UserError(f"--int8 needs the images that {source.run.folder} was trained on: {error}") from error
    if not len(dataset.train) or not len(dataset.val):
        raise UserError(f"--int8 needs training and validation images, which {dataset.name} does not have.")
    return dataset


def _spread(length: int, count: int) -> list[int]:
    """At most ``count`` positions, evenly spread."""
    return np.unique(np.linspace(0, length - 1, min(count, length)).astype(int)).tolist()
