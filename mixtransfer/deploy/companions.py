"""What lies beside an export so that a stranger can use it: its labels, and a script that needs no mixtransfer."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mixtransfer.answers import UNKNOWN_BELOW
from mixtransfer.common.files import write_atomic
from mixtransfer.data.detection.square import CANVAS
from mixtransfer.deploy.metadata import Metadata
from mixtransfer.deploy.runtimes import runtime_of
from mixtransfer.detection.thresholds import of_each

TEMPLATE = "predict.py.jinja"
MARK = "# Written by `mixtransfer export`"
SCRIPTED = ("onnxruntime", "openvino", "litert")  # runtimes that the template knows


def write_companions(path: Path, metadata: Metadata) -> list[Path]:
    """Write ``labels.txt``, a class a line, and ``predict.py`` beside an exported file.

    Where a file of such a name is somebody else's, or belongs to another export, the names begin with the export's.

    Args:
        path: The export; for formats without a Python runtime of their own, and for raw outputs, labels are all.

    Returns:
        What was written.
    """
    labels, script = path.with_name("labels.txt"), path.with_name("predict.py")
    names = "\n".join(" ".join(name.split()) for name in metadata.classes)
    others = script.exists() and not _is_of(script, path.name)
    if others or labels.exists() and not script.exists() and labels.read_text("utf-8") != names:
        labels, script = (file.with_name(f"{path.stem}-{file.name}") for file in (labels, script))
    write_atomic(labels, names)
    runtime = runtime_of(path)
    if runtime is None or runtime.name not in SCRIPTED or "deltas" in metadata.outputs:
        return [labels]
    preprocessing = metadata.preprocessing
    is_detector = metadata.task == "detection"
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined)
    text = environment.get_template(TEMPLATE).render(
        file=path.name, script=script.name, quoted=repr(path.name), outputs=metadata.outputs, labels=repr(labels.name),
        reader="OpenCV" if is_detector else "Pillow", runtime=runtime.name, module=runtime.modules[0],
        task="detection" if is_detector else "classification", multilabel=metadata.task == "multilabel",
        inside=metadata.inside, softmax="probabilities" in metadata.outputs,
        known="known" in metadata.outputs, unknown_below=UNKNOWN_BELOW,
        size=preprocessing.size, shorter=int(preprocessing.size / preprocessing.crop),
        crop_mode=preprocessing.crop_mode,
        filter=preprocessing.interpolation.upper(), mean=list(preprocessing.mean), std=list(preprocessing.std),
        fill=tuple(round(255 * value) for value in preprocessing.mean), canvas=CANVAS,
        thresholds=of_each(metadata.details.get("thresholds"), metadata.classes),
    )  # fmt: skip
    write_atomic(script, text + "\n")
    return [labels, script]


def _is_of(script: Path, name: str) -> bool:
    first = script.read_text("utf-8", errors="replace").partition("\n")[0]
    return first.startswith(f"{MARK} for {name}: ")
