"""Datasets known by name, through torchvision's own classes: download, checksums, official splits."""

import contextlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from mixtransfer.data.dataset import Examples, ImageDataset
from mixtransfer.data.draw import Draw
from mixtransfer.data.folder import list_folder
from mixtransfer.data.split_file import Split
from mixtransfer.data.tree import Tree
from mixtransfer.errors import UserError

NAMED_DATASETS = ("cifar10", "cifar100", "pets", "food101", "digits")


def read_named(name: str, data_root: Path, by: Draw | Split) -> ImageDataset:
    """Load one of ``NAMED_DATASETS``; the validation part comes out of the official training set.

    ``digits`` are scikit-learn's 1,797 handwritten digits (8×8 pixels), which need no download.
    ``cifar10`` and ``cifar100`` are also read from an image folder ``<data_root>/<name>/{train,test}/<class>/``.

    Args:
        by: How to draw the parts that are missing, or the split of a run.

    Raises:
        UserError: The data is not there and cannot be downloaded.
    """
    if folder := named_folder(name, data_root):
        return list_folder(Tree(folder)).dataset(by)
    if name == "digits":
        parts, classes = {"all": _digits()}, [str(i) for i in range(10)]
    else:
        train, test = _torchvision_splits(name, data_root)
        parts, classes = {"train": _examples(train), "test": _examples(test)}, list(train.classes)
    return replace(ImageDataset.divided(name, name, classes, parts, by, data_root), is_writing=name == "digits")


def named_folder(name: str, data_root: Path) -> Path | None:
    """The image folder that a named dataset is read from, if it lies there as one."""
    is_folder = name in ("cifar10", "cifar100") and (data_root / name / "train").is_dir()
    return data_root / name if is_folder else None


def _torchvision_splits(name: str, data_root: Path):
    from torchvision import datasets

    makers = {
        "cifar10": lambda train: datasets.CIFAR10(data_root, train=train, download=True),
        "cifar100": lambda train: datasets.CIFAR100(data_root, train=train, download=True),
        "pets": lambda train: datasets.OxfordIIITPet(data_root, "trainval" if train else "test", download=True),
        "food101": lambda train: datasets.Food101(data_root, "train" if train else "test", download=True),
    }
    try:
        data_root.mkdir(parents=True, exist_ok=True)
        with contextlib.redirect_stdout(sys.stderr):
            return makers[name](True), makers[name](False)
    except Exception as error:  # torchvision raises whatever urllib, tarfile or its checks raise
        raise UserError(
            f"The dataset {name} is not whole under {data_root} and could not be downloaded "
            f"({type(error).__name__}: {' '.join(str(error).split())}): give the folder that holds it with --data-root."
        ) from error


def _examples(dataset) -> Examples:
    if hasattr(dataset, "data"):  # CIFAR: small enough to lie in memory
        return Examples(dataset.data, np.array(dataset.targets, dtype=np.int64))
    # torchvision has no public list of its files; these two attributes have stood since 0.12.
    files = getattr(dataset, "_images", None) or dataset._image_files
    return Examples([Path(f) for f in files], np.array(dataset._labels, dtype=np.int64))


def _digits() -> Examples:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.repeat((digits.images * 255 / 16).astype(np.uint8)[..., None], 3, axis=-1)
    return Examples(images, digits.target.astype(np.int64))
