"""From what a person types as DATA to a detection dataset: the one place that recognizes layouts."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from mixtransfer.data.detection.coco import read_coco
from mixtransfer.data.detection.coco_layout import coco_files, list_coco, list_coco_file, roboflow_files
from mixtransfer.data.detection.darknet import darknet_files, list_darknet
from mixtransfer.data.detection.dataset import DetectionDataset
from mixtransfer.data.detection.imagefolder import list_imagefolder, object_files
from mixtransfer.data.detection.labelimg import has_labels, list_labelimg, names_files
from mixtransfer.data.detection.labelstudio import is_labelstudio, labelstudio_files, list_labelstudio
from mixtransfer.data.detection.listed import ListedDetection
from mixtransfer.data.detection.voc import list_voc, voc_files
from mixtransfer.data.detection.yolo import list_yolo, yolo_files
from mixtransfer.data.division import counted
from mixtransfer.data.draw import Draw
from mixtransfer.data.lookup import some
from mixtransfer.data.metadata_tables import METADATA
from mixtransfer.data.packed import unpacked
from mixtransfer.data.split_file import Split
from mixtransfer.data.tree import Tree
from mixtransfer.errors import UserError

Faults = list[str] | None


@dataclass(frozen=True)
class Layout:
    """A way in which datasets are laid out.

    Attributes:
        title: What it is called.
        mark: What it is known by, in words.
        find: The files of a folder that speak for it.
        read: From the folder and these files to what they list; ``faults`` is as in ``list_boxes``.
    """

    title: str
    mark: str
    find: Callable[[Tree], list[str]]
    read: Callable[[Tree, list[str], Faults], ListedDetection]


def _single(read: Callable[[Path, Faults], ListedDetection]) -> Callable[[Tree, list[str], Faults], ListedDetection]:
    """A reader of a dataset that one file describes."""

    def read_one(tree: Tree, names: list[str], faults: Faults) -> ListedDetection:
        if len(names) > 1:
            raise UserError(f"{tree.root} has {' and '.join(names[:2])}, each of which is a dataset: give one as DATA.")
        return read(tree.root / names[0], faults)

    return read_one


def _labelimg_files(tree: Tree) -> list[str]:
    names = names_files(tree)
    return names if names and has_labels(tree, tree.images) else []


LAYOUTS = {
    "coco": Layout("COCO", "annotations/*.json", coco_files, list_coco),
    "roboflow": Layout("Roboflow's COCO", "train/_annotations.coco.json", roboflow_files, list_coco),
    "yolo": Layout("YOLO", "data.yaml", yolo_files, _single(list_yolo)),
    "voc": Layout("Pascal VOC", "*.xml", voc_files, lambda tree, _, faults: list_voc(tree, faults)),
    "darknet": Layout("Darknet", "obj.data", darknet_files, _single(list_darknet)),
    "labelimg": Layout("labelImg", "classes.txt", _labelimg_files, lambda tree, _, faults: list_labelimg(tree, faults)),
    "labelstudio": Layout("Label Studio", "a JSON list of tasks", labelstudio_files, list_labelstudio),
    "imagefolder": Layout("Hugging Face imagefolder", "metadata.jsonl", object_files, list_imagefolder),
}
# What is told apart so that nobody trains on it as something else.
OTHERS = {
    "annotations.xml": "CVAT's own XML: export it as COCO or Pascal VOC",
    "_annotations.csv": "Roboflow's CSV: export it as COCO",
    "_annotations.createml.json": "CreateML's JSON: export it as COCO",
    "via_region_data.json": "VIA's own JSON: export it as COCO",
}


def load_detection_dataset(
    data: str | Path,
    data_root: Path | str = "data",
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    split_seed: int = 0,
    *,
    layout: str = "auto",
    group_by: str | None = None,
    split: Split | None = None,
    only: str | None = None,
) -> DetectionDataset:
    """Load a detection dataset; every image file is decoded once, and the unusable ones are left out.

    Args:
        data: ``coco``, a folder in one of ``LAYOUTS``, a JSON file of COCO or Label Studio, a YOLO ``data.yaml``, a
            Darknet ``.data`` file or an imagefolder's ``metadata.jsonl``.
        data_root: Where ``coco`` lives, as detectron2 has it: ``coco/annotations/instances_{train,val}2017.json`` and
            ``coco/{train,val}2017/``.
        val_fraction: Share of the training images set aside for validation, at most 2,000, where the data has no such
            part or has it in place of a test part (as COCO 2017, whose val2017 is what results are reported on).
        test_fraction: Share of the images set aside as the test part, where the data is not split.
        split_seed: Seed of these choices; it is not the training seed, so that runs share their parts.
        group_by: A regular expression over paths; images for which it matches the same stay in one part.
        split: The parts, if they are settled; then nothing is drawn.
        only: The part of the split that will be looked at, if it is one: the others' images are not decoded.
        layout: A key of ``LAYOUTS``, or "auto" to recognize it.

    Raises:
        UserError: The path or name does not exist, or the data cannot be used.
    """
    by = split or Draw(val_fraction, test_fraction, split_seed, group_by=group_by)
    return list_boxes(str(data), Path(data_root), layout=layout).dataset(by, only)


def is_detection_data(data: str) -> bool:
    """Whether DATA is images with boxes by its layout, as opposed to images with a class each."""
    path = Path(data)
    if path.is_dir():
        tree = Tree(path.resolve())
        return bool(_found(tree) or _elsewhere(tree) or _hint(tree))
    named = data == "coco" or path.suffix.lower() in (".json", ".yaml", ".yml", ".data")
    return named or (path.name in METADATA and bool(object_files(Tree(path.parent))))


def list_boxes(data: str, data_root: Path, faults: Faults = None, layout: str = "auto") -> ListedDetection:
    """List the images and boxes of a dataset, before any image is opened.

    Args:
        data, data_root, layout: See ``load_detection_dataset``.
        faults: Takes a sentence for each annotation that cannot be used, which is then left out; without it the first
            one raises.

    Raises:
        UserError: The path or name does not exist, the data could be two things, or cannot be used.
    """
    if layout not in ("auto", *LAYOUTS):
        raise UserError(f"--layout {layout} is none of {', '.join(LAYOUTS)}.")
    if data == "coco":
        return _list_coco2017(data_root / "coco", faults)
    data = unpacked(data, data_root)
    path = Path(data)
    if path.is_dir():
        return _list_folder(Tree(path.resolve()), faults, layout)
    if not path.is_file():
        near = "did you mean coco?" if difflib.get_close_matches(data, ["coco"]) else "give a path, or coco."
        raise UserError(f"There is no dataset or folder {data!r}: {near}")
    return _list_file(path, faults)


def _list_coco2017(root: Path, faults: Faults) -> ListedDetection:
    files = [f"annotations/instances_{part}2017.json" for part in ("train", "val")]
    for name in files:
        if not (root / name).is_file():
            raise UserError(f"{root / name} is missing: give the folder that holds coco/annotations with --data-root.")
    return replace(list_coco(Tree(root), files, faults), layout=LAYOUTS["coco"].title)


def _list_file(path: Path, faults: Faults) -> ListedDetection:
    suffix, tree, names = path.suffix.lower(), Tree(path.parent.resolve()), [path.name]
    if suffix == ".json" and is_labelstudio(path):
        return replace(list_labelstudio(tree, names, faults), layout=_title("labelstudio", names), name=path.stem)
    if suffix == ".json":
        return replace(list_coco_file(path, faults), layout=_title("coco", names))
    if suffix in (".yaml", ".yml"):
        return replace(list_yolo(path, faults), layout=_title("yolo", names))
    if suffix == ".data":
        return replace(list_darknet(path, faults), layout=_title("darknet", names))
    if suffix in (".jsonl", ".csv") and path.stem == "metadata":
        return replace(list_imagefolder(tree, names, faults), layout=_title("imagefolder", names))
    raise UserError(
        f"{path} is neither a JSON file of COCO or Label Studio nor a YOLO data.yaml: give one, or the data's folder."
    )


def _list_folder(tree: Tree, faults: Faults, layout: str) -> ListedDetection:
    """List a folder, or the only one in it, in which an archive was packed."""
    found = _found(tree) if layout == "auto" else {layout: LAYOUTS[layout].find(tree)}
    if not found.get(layout, ["auto"]):
        if (inner := _inner(tree)) is not None:
            return _list_folder(inner, faults, layout)
        if layout != "labelimg":
            raise UserError(f"{tree.root} is not in the layout {layout}: it has no {LAYOUTS[layout].mark}.")
    if len(found) > 1:
        ways = " or ".join(f"{LAYOUTS[name].title} ({some(names, 1)})" for name, names in found.items())
        raise UserError(f"{tree.root} can be read as {ways}: say which by --layout {' or '.join(found)}.")
    if not found:
        if (inner := _inner(tree)) is not None:
            return _list_folder(inner, faults, layout)
        raise UserError(_reason(tree))
    name, names = next(iter(found.items()))
    listed = LAYOUTS[name].read(tree, names, faults)
    return replace(listed, layout=_title(name, names), left_out=[*listed.left_out, *_unread(tree, listed)])


def _title(name: str, names: list[str]) -> str:
    return f"{LAYOUTS[name].title} ({some(names, 1)})" if names else LAYOUTS[name].title


def _found(tree: Tree) -> dict[str, list[str]]:
    """The layouts that a folder can be read in, and the files that speak for each."""
    found = {name: names for name, layout in LAYOUTS.items() if (names := layout.find(tree))}
    for other in ("yolo", "darknet"):
        # The label files are the same; only if the names differ there are two readings.
        if other in found and "labelimg" in found and _same_classes(tree, other, found):
            del found["labelimg"]
    return found


def _same_classes(tree: Tree, other: str, found: dict[str, list[str]]) -> bool:
    try:
        one, two = (LAYOUTS[name].read(tree, found[name], []).classes for name in (other, "labelimg"))
    except UserError:
        return True
    return one == two


def _inner(tree: Tree) -> Tree | None:
    """The only folder in a folder in which nothing else lies."""
    names = {name.split("/", 1)[0] for name in tree.files}
    if len(names) == 1 and (inner := tree.root / next(iter(names))).is_dir():
        return Tree(inner)
    return None


def _elsewhere(tree: Tree) -> list[str]:
    """The folders below that are datasets of their own."""
    if (inner := _inner(tree)) is not None:
        return [inner.root.name] if _found(inner) or _elsewhere(inner) else []
    return [name for name in tree.folders[:50] if _found(Tree(tree.root / name))]


def _hint(tree: Tree) -> str | None:
    """What a folder seems to be that is not read, in words."""
    for name in tree.files:
        if (kind := OTHERS.get(name.rsplit("/", 1)[-1].lower())) and name.count("/") < 2:
            return f"{name} is {kind}"
    if has_labels(tree, tree.images):
        return (
            "it has YOLO's label files, but neither data.yaml nor classes.txt: write the class names into classes.txt, "
            "a line each, from 0 on"
        )
    return None


def _reason(tree: Tree) -> str:
    """Why a folder cannot be read."""
    if len(others := _elsewhere(tree)) > 1:
        return f"{tree.root} holds several datasets, {' and '.join(others[:3])}: give one of them."
    if hint := _hint(tree):
        return f"{tree.root} cannot be read: {hint}."
    for name in tree.having(".json"):
        if name.count("/") < 2:
            read_coco(tree.root / name)  # says what it lacks
    marks = ", ".join(f"{layout.title} ({layout.mark})" for layout in LAYOUTS.values())
    return f"{tree.root} is no detection dataset: it holds none of {marks}."


def _unread(tree: Tree, listed: ListedDetection) -> list[str]:
    """What of a folder is not among the images that are listed, in words."""
    known = {str(file) for part in listed.parts.values() for file in part.files}
    root = f"{tree.root}/"
    lone = [name for name in tree.images if root + name not in known]
    if lone and any(Path(file).is_symlink() for file in known):
        real = {str(Path(file).resolve()) for file in known}
        lone = [name for name in lone if root + name not in real]
    kinds = (
        (lone, "image", "that no annotation names"),
        (tree.unread, "photograph", "in formats that are not read"),
        ([name for name in tree.links if not any(file.startswith(f"{root}{name}/") for file in known)],
         "link", "to folders outside of the data"),
    )  # fmt: skip
    return [f"{counted(len(names), one)} {what} ({some(names, 1)})" for names, one, what in kinds if names]
