"""Datasets known by name, through torchvision's own classes: download, checksums, official splits."""

import contextlib
import sys
from pathlib import Path

import numpy as np

from mixtransfer.data.dataset import Examples, ImageDataset, with_validation
from mixtransfer.data.folder import list_folder
from mixtransfer.errors import UserError

NAMED_DATASETS = ("cifar10", "cifar100", "pets", "food101", "digits")


def read_named(name: str, data_root: Path, val_fraction: float, split_seed: int) -> ImageDataset:
    """Load one of ``NAMED_DATASETS``; the validation part comes out of the official training set.

    ``digits`` are scikit-learn's 1,797 handwritten digits (8×8 pixels), which need no download.
    ``cifar10`` and ``cifar100`` are also read from an image folder ``<data_root>/<name>/{train,test}/<class>/``.

    Raises:
        UserError: The data is not there and cannot be downloaded.
    """
    if name == "digits":
        return _digits(val_fraction, split_seed)
    if folder := named_folder(name, data_root):
        return list_folder(folder).dataset(val_fraction, 0.2, split_seed, check=True)
    train, test = _torchvision_splits(name, data_root)
    return with_validation(name, list(train.classes), _examples(train), _examples(test), val_fraction, split_seed)


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


def _digits(val_fraction: float, split_seed: int) -> ImageDataset:
    from sklearn.datasets import load_digits

    from mixtransfer.data.splits import split_off

    digits = load_digits()
    images = np.repeat((digits.images * 255 / 16).astype(np.uint8)[..., None], 3, axis=-1)
    examples = Examples(images, digits.target.astype(np.int64))
    classes = [str(i) for i in range(10)]
    stays, aside = split_off(examples.labels, 0.2, split_seed, classes, "test")
    return with_validation("digits", classes, examples.subset(stays), examples.subset(aside), val_fraction, split_seed)
