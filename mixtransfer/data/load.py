"""From what a person types as DATA to a dataset."""

import difflib
from pathlib import Path

from mixtransfer.data import FolderLayout
from mixtransfer.data.dataset import ImageDataset
from mixtransfer.data.detection.load import is_detection_data
from mixtransfer.data.draw import Draw
from mixtransfer.data.folder import list_folder
from mixtransfer.data.listed import ListedImages
from mixtransfer.data.manifest import list_manifest, list_metadata
from mixtransfer.data.metadata_tables import has_no_class, labelled_metadata
from mixtransfer.data.named import NAMED_DATASETS, read_named
from mixtransfer.data.packed import unpacked
from mixtransfer.data.split_file import Split
from mixtransfer.data.tree import Tree
from mixtransfer.errors import UserError

_BOXES = (
    "is images with boxes, and no folder in it is a class: mixtransfer detect train (in Python "
    "mixtransfer.detect.train) takes it."
)


def load_dataset(
    data: str | Path,
    data_root: Path | str = "data",
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    split_seed: int = 0,
    check: bool = True,
    *,
    fold: str | None = None,
    group_by: str | None = None,
    split: Split | None = None,
    layout: FolderLayout = "auto",
) -> ImageDataset:
    """Load a classification dataset.

    Args:
        data: A name of ``NAMED_DATASETS``, an image folder, a manifest, or "hf:NAME", see ``unpacked``.
        data_root: Where named datasets live or are downloaded to.
        val_fraction: Share of every training class set aside for validation, where the data has no such part.
        test_fraction: Share of every class set aside as test set, where the data is not split.
        split_seed: Seed of these choices; it is not the training seed, so that runs share their test set.
        check: Decode every file of a folder or manifest once and leave out the unusable ones.
        fold: Such as "2/5": the second of five equal parts of every class is the test set, where the data is not split.
        group_by: A regular expression over paths; images for which it matches the same stay in one part.
        split: The parts, if they are settled; then nothing is drawn.
        layout: What the levels of a folder are, see ``recognize``.

    Raises:
        UserError: The path or name does not exist, or the data cannot be used.
    """
    data = unpacked(str(data), data_root)
    by = split or Draw(val_fraction, test_fraction, split_seed, fold, group_by)
    if data in NAMED_DATASETS:
        return read_named(data, Path(data_root), by)
    return list_images(data, layout).dataset(by, check)


def list_images(data: str, layout: FolderLayout = "auto") -> ListedImages:
    """List the labelled images of a folder or manifest.

    Args:
        layout: See ``load_dataset``.

    Raises:
        UserError: It does not exist, or lists nothing that can be used.
    """
    path = Path(data)
    if path.is_dir():
        tree = Tree(path)
        if layout == "auto" and (tables := labelled_metadata(tree)):
            return list_metadata(tree, tables)
        if layout == "auto" and has_no_class(tree) and is_detection_data(data):
            raise UserError(f"{data} {_BOXES}")
        return list_folder(tree, layout)
    if path.is_file() and path.suffix.lower() in (".csv", ".jsonl"):
        return list_manifest(path)
    if (path.is_file() or data == "coco") and is_detection_data(data):
        raise UserError(f"{data} {_BOXES}")
    if path.is_file():
        raise UserError(f"{data} is a file but not a manifest: give an image folder, a .csv or a .jsonl file.")
    near = difflib.get_close_matches(data, NAMED_DATASETS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"give a path or one of {', '.join(NAMED_DATASETS)}."
    raise UserError(f"There is no dataset or folder {data!r}: {hint}")
