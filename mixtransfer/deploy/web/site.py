"""The page's files, and what ``page.json`` tells them of the model."""

import json
from pathlib import Path

from mixtransfer.answers import UNKNOWN_BELOW
from mixtransfer.common.messages import tell
from mixtransfer.data.detection.square import CANVAS
from mixtransfer.deploy.metadata import Metadata, square_of
from mixtransfer.deploy.parity import Parity
from mixtransfer.deploy.source import Source
from mixtransfer.deploy.web.package import VERSION, files
from mixtransfer.detection.thresholds import of_each
from mixtransfer.errors import UserError
from mixtransfer.runs.model_card import ModelCard

PAGE = Path(__file__).with_name("site")
MARK = '<meta name="generator" content="mixtransfer export">'


def check_folder(folder: Path) -> None:
    """See to it that nothing of somebody else's is written over.

    Raises:
        UserError: It is a file, or a folder that holds something else than such a page.
    """
    if folder.is_file():
        raise UserError(f"--output {folder} is a file: give the name of a folder.")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    index = folder / "index.html"
    if not index.is_file() or MARK not in index.read_text(encoding="utf-8", errors="replace"):
        raise UserError(f"--output {folder} holds other files: give a new folder, or that of an earlier page.")


def write_site(folder: Path, source: Source, metadata: Metadata, parity: Parity) -> None:
    """Write everything but the model.

    Raises:
        UserError: onnxruntime-web cannot be had, see ``mixtransfer.deploy.web.package.fetch``.
    """
    if metadata.details.get("tiles"):
        tell("Warning: The page looks at whole images, not at tiles: small objects in large images may be missed.")
    for file in PAGE.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "onnxruntime-web").mkdir()
    for name, data in files().items():
        (folder / "onnxruntime-web" / name).write_bytes(data)
    assert source.run
    known = {
        "name": source.run.folder.resolve().name,
        **describe(metadata),
        "about": about(ModelCard.read(source.run.model).details.get("start", {}), metadata, parity),
    }
    (folder / "page.json").write_text(json.dumps(known, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def describe(metadata: Metadata) -> dict:
    """What the page computes by: the task, the classes, how an image becomes an input, and from when on boxes show."""
    preprocessing = metadata.preprocessing
    task = "classification" if metadata.is_classifier else metadata.task
    known = {"task": task, "classes": metadata.classes, "size": preprocessing.size}
    if metadata.task == "detection":
        thresholds = of_each(metadata.details.get("thresholds"), metadata.classes)
        return {
            **known,
            "resize": square_of(preprocessing).resize,
            "fill": list(CANVAS),
            "thresholds": thresholds,
        }
    return {
        **known,
        "crop": preprocessing.crop_mode,
        "shorter": int(preprocessing.size / preprocessing.crop),
        "interpolation": preprocessing.interpolation,
        "enough": preprocessing.min_side,
        "fill": [round(255 * value) for value in preprocessing.mean],
        "unknownBelow": UNKNOWN_BELOW,
        **({"thresholds": several.tolist()} if (several := metadata.label_thresholds) is not None else {}),
    }


def about(start: dict, metadata: Metadata, parity: Parity) -> list[tuple[str, str]]:
    """Terms and texts for people.

    Args:
        start: What the training started from, as ``model.json`` has it: weights and, if it is known, license.
    """
    boxes = "" if parity.pixels is None else f" and {parity.pixels:.2g} pixels"
    told = [
        ("Network", f"{metadata.backbone}, for {metadata.preprocessing.size} × {metadata.preprocessing.size} pixels"),
        ("Classes", ", ".join(metadata.classes)),
        ("Checked", f"on {parity.images} images: differs from PyTorch by at most {parity.difference:.2g}{boxes}"),
        ("Runs by", f"ONNX Runtime Web {VERSION} (MIT licence), on this device's processor"),
    ]
    if start.get("weights"):
        told.append(("Trained from", f"{start['weights']}, whose licence is {start.get('license', 'not known')}"))
    if metadata.details.get("tiles"):
        told.append(("Tiles", "It was trained on tiles of large images; this page looks at whole images."))
    return told
