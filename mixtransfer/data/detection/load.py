"""From what a person types as DATA to a detection dataset."""

import difflib
from pathlib import Path

from mixtransfer.data.detection.coco_layout import coco_files, list_coco, list_coco_file
from mixtransfer.data.detection.dataset import DetectionDataset
from mixtransfer.data.detection.listed import ListedDetection
from mixtransfer.data.detection.voc import FOLDERS, list_voc
from mixtransfer.data.detection.yolo import list_yolo
from mixtransfer.data.draw import Draw
from mixtransfer.data.split_file import Split
from mixtransfer.errors import UserError


def load_detection_dataset(
    data: str,
    data_root: Path | str = "data",
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    split_seed: int = 0,
    *,
    group_by: str | None = None,
    split: Split | None = None,
) -> DetectionDataset:
    """Load a detection dataset; every image file is decoded once, and the unusable ones are left out.

    Args:
        data: ``coco``, a folder in COCO's, Roboflow's, Pascal VOC's or YOLO's layout, a COCO JSON file, or a YOLO
            ``data.yaml``.
        data_root: Where ``coco`` lives, as detectron2 has it: ``coco/annotations/instances_{train,val}2017.json`` and
            ``coco/{train,val}2017/``.
        val_fraction: Share of the training images set aside for validation, at most 2,000, where the data has no such
            part or has it in place of a test part (as COCO 2017, whose val2017 is what results are reported on).
        test_fraction: Share of the images set aside as the test part, where the data is not split.
        split_seed: Seed of these choices; it is not the training seed, so that runs share their parts.
        group_by: A regular expression over paths; images for which it matches the same stay in one part.
        split: The parts, if they are settled; then nothing is drawn.

    Raises:
        UserError: The path or name does not exist, or the data cannot be used.
    """
    by = split or Draw(val_fraction, test_fraction, split_seed, group_by=group_by)
    return list_boxes(data, Path(data_root)).dataset(by)


def is_detection_data(data: str) -> bool:
    """Whether DATA is images with boxes by its layout, as opposed to images with a class each."""
    path = Path(data)
    if path.is_dir():
        known = [path / "data.yaml", path / "data.yml", path / FOLDERS[1]]
        if coco_files(path) or any(place.exists() for place in known):
            return True
        return any(b'"annotations"' in file.read_bytes() for file in coco_files(path, ["*.json"]))
    return data == "coco" or path.suffix.lower() in (".json", ".yaml", ".yml")


def list_boxes(data: str, data_root: Path, faults: list[str] | None = None) -> ListedDetection:
    """List the images and boxes of a dataset, before any image is opened.

    Args:
        data, data_root: See ``load_detection_dataset``.
        faults: Takes a sentence for each annotation that cannot be used, which is then left out; without it the first
            one raises.

    Raises:
        UserError: The path or name does not exist, or the data cannot be used.
    """
    if data == "coco":
        return _list_coco2017(data_root / "coco", faults)
    path = Path(data)
    if path.is_dir():
        return _list_folder(path, faults)
    if path.is_file() and path.suffix.lower() == ".json":
        return list_coco_file(path, faults)
    if path.is_file() and path.suffix.lower() in (".yaml", ".yml"):
        return list_yolo(path, faults)
    if path.is_file():
        raise UserError(f"{data} is neither a COCO JSON file nor a YOLO data.yaml: give one, or the dataset's folder.")
    near = "did you mean coco?" if difflib.get_close_matches(data, ["coco"]) else "give a path, or coco."
    raise UserError(f"There is no dataset or folder {data!r}: {near}")


def _list_coco2017(root: Path, faults: list[str] | None) -> ListedDetection:
    files = [root / "annotations" / f"instances_{part}2017.json" for part in ("train", "val")]
    for path in files:
        if not path.is_file():
            raise UserError(f"{path} is missing: give the folder that holds coco/annotations with --data-root.")
    return list_coco(root, files, faults)


def _list_folder(root: Path, faults: list[str] | None) -> ListedDetection:
    root = root.resolve()
    if files := coco_files(root):
        return list_coco(root, files, faults)
    for name in ("data.yaml", "data.yml"):
        if (root / name).is_file():
            return list_yolo(root / name, faults)
    if all((root / folder).is_dir() for folder in FOLDERS):
        return list_voc(root)
    if files := coco_files(root, ["*.json"]):
        return list_coco(root, files, faults)
    raise UserError(
        f"{root} is no detection dataset: it holds neither COCO files (annotations/*.json, "
        "train/_annotations.coco.json), a YOLO data.yaml, nor Pascal VOC's JPEGImages and Annotations."
    )
