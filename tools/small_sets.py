"""Small sets of images, made of what is at hand, to measure the defaults of `classify train` on.

The data root holds what ``classify`` and ``detect`` know by name, as far as the sets need it: oxford-iiit-pet,
food-101, cifar10 (as an image folder), coco, and BCCD; scikit-learn's digits come with it. Each set is an image folder
with a training part of 50 to 1,000 images and a test part, which is to choose nothing.
"""

import hashlib
import json
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

Box = tuple[float, float, float, float]  # left, top, right, bottom
Pool = dict[str, list[tuple[Path, Box | None]]]  # by class, images or parts of them
SMALLEST_BOX = 32  # pixels of the shorter side of an object that is cut out
AROUND = 0.1  # of an object's size is cut out with it, on each side


@dataclass(frozen=True)
class Small:
    """A set that is made.

    Attributes:
        source: What it is made of, a function of the data root that gives the pools to train and to test on.
        classes: Names of its classes; None for all.
        train, test: Images of each class, at most.
    """

    source: Callable[[Path], tuple[Pool, Pool]]
    train: int
    test: int
    classes: tuple[str, ...] | None = None


def pets(root: Path) -> tuple[Pool, Pool]:
    """The breeds, in their own split."""
    train, test = (_pet_list(root, part, lambda name: name.rpartition("_")[0]) for part in ("trainval", "test"))
    return train, test


def cats_and_dogs(root: Path) -> tuple[Pool, Pool]:
    """Cats (their files are capitalized) against dogs; the last 3 of 7 images of each breed are tested on too."""
    train, test = (
        _pet_list(root, part, lambda name: "cat" if name[0].isupper() else "dog") for part in ("trainval", "test")
    )
    kept: Pool = defaultdict(list)
    for name, items in train.items():
        breeds: Pool = defaultdict(list)
        for item in items:
            breeds[item[0].name.rpartition("_")[0]].append(item)
        for members in breeds.values():
            kept[name] += members[:4]
            test[name] += members[4:]
    return kept, test


def _pet_list(root: Path, part: str, label: Callable[[str], str]) -> Pool:
    pool: Pool = defaultdict(list)
    folder = root / "oxford-iiit-pet"
    for line in (folder / "annotations" / f"{part}.txt").read_text().splitlines():
        name = line.split()[0]
        pool[label(name)].append((folder / "images" / f"{name}.jpg", None))
    return pool


def food(root: Path) -> tuple[Pool, Pool]:
    """Food-101's classes that are there, in their own split."""
    lists = [json.loads((root / "food-101" / "meta" / f"{part}.json").read_text()) for part in ("train", "test")]
    parts = [
        {name: [(root / "food-101" / "images" / f"{file}.jpg", None) for file in files] for name, files in part.items()}
        for part in lists
    ]
    return parts[0], parts[1]  # type: ignore[return-value]


def food_with_more_to_test(root: Path) -> tuple[Pool, Pool]:
    """The same, and of each class's training images all but 60 are tested on too."""
    train, test = food(root)
    train = {name: _shuffled(items) for name, items in train.items()}
    return {n: items[:60] for n, items in train.items()}, {n: test[n] + items[60:] for n, items in train.items()}


def cifar(root: Path) -> tuple[Pool, Pool]:
    """CIFAR-10 as an image folder."""
    parts = [
        {
            folder.name: [(file, None) for file in sorted(folder.iterdir())]
            for folder in sorted((root / "cifar10" / part).iterdir())
        }
        for part in ("train", "test")
    ]
    return parts[0], parts[1]  # type: ignore[return-value]


def coco_objects(root: Path) -> tuple[Pool, Pool]:
    """Objects cut out of COCO's images; each image gives to one part only, drawn by its name."""
    train: Pool = defaultdict(list)
    test: Pool = defaultdict(list)
    for part in ("train2017", "val2017"):
        listed = json.loads((root / "coco" / "annotations" / f"instances_{part}.json").read_text())
        names = {category["id"]: category["name"] for category in listed["categories"]}
        files = {image["id"]: image["file_name"] for image in listed["images"]}
        for annotation in listed["annotations"]:
            left, top, width, height = annotation["bbox"]
            if min(width, height) >= SMALLEST_BOX:
                file = files[annotation["image_id"]]
                pool = train if _hash(file) % 2 else test
                box = (left, top, left + width, top + height)
                pool[names[annotation["category_id"]]].append((root / "coco" / part / file, box))
    return train, test


def blood_cells(root: Path) -> tuple[Pool, Pool]:
    """Cells cut out of BCCD's images, in its own split."""
    return tuple(_cells(root / "BCCD", lists) for lists in (("train", "val"), ("test",)))  # type: ignore[return-value]


def _cells(folder: Path, lists: tuple[str, ...]) -> Pool:
    pool: Pool = defaultdict(list)
    for name in (n for part in lists for n in (folder / "ImageSets" / "Main" / f"{part}.txt").read_text().split()):
        for thing in ET.parse(folder / "Annotations" / f"{name}.xml").getroot().iter("object"):
            left, top, right, bottom = (
                float(thing.findtext(f"bndbox/{side}", "0")) for side in ("xmin", "ymin", "xmax", "ymax")
            )
            if min(right - left, bottom - top) >= SMALLEST_BOX:
                file = folder / "JPEGImages" / f"{name}.jpg"
                pool[thing.findtext("name", "")].append((file, (left, top, right, bottom)))
    return pool


def digits(root: Path) -> tuple[Pool, Pool]:
    """scikit-learn's digits, written as images of 32 pixels beside the other data."""
    from sklearn.datasets import load_digits

    folder = root / "scikit-learn-digits"
    bunch = load_digits()
    pools: tuple[Pool, Pool] = (defaultdict(list), defaultdict(list))
    for i, (image, label) in enumerate(zip(bunch.images, bunch.target, strict=True)):
        file = folder / f"{i:04d}.png"
        if not file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image * 255 / 16).astype(np.uint8)).resize((32, 32)).save(file)
        pools[i % 2][str(label)].append((file, None))
    return pools


COCO_CLASSES = ("person", "chair", "car", "motorcycle", "horse", "dining table")
SETS = {
    "cats-dogs": Small(cats_and_dogs, 48, 150),
    "bccd-3x30": Small(blood_cells, 30, 150),
    "food-2x30": Small(food_with_more_to_test, 30, 80, ("apple_pie", "bread_pudding")),
    "food-5x30": Small(
        food_with_more_to_test, 30, 80,
        ("baby_back_ribs", "beef_carpaccio", "beef_tartare", "bibimbap", "breakfast_burrito"),
    ),
    "cifar-2x25": Small(cifar, 25, 300, ("cat", "dog")),
    "cifar-4x60": Small(cifar, 60, 150, ("airplane", "automobile", "ship", "truck")),
    "coco-6x20": Small(coco_objects, 20, 100, COCO_CLASSES),
    "digits-10x20": Small(digits, 20, 100),
    "pets": Small(pets, 7, 3),
    "cifar-10x50": Small(cifar, 50, 100),
    "food": Small(food, 100, 40),
}  # fmt: skip


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


def _shuffled(items: list) -> list:
    """In an order that only the names decide."""
    return sorted(items, key=lambda item: _hash(f"{item[0].name} {item[1]}"))


def write_set(small: Small, root: Path, folder: Path) -> None:
    """Make an image folder with ``train/`` and ``test/``; what is there already is left."""
    for part, pool, most in zip(("train", "test"), small.source(root), (small.train, small.test), strict=True):
        for name in small.classes or sorted(pool):
            (folder / part / name).mkdir(parents=True, exist_ok=True)
            for i, (source, box) in enumerate(_shuffled(pool[name])[:most]):
                target = folder / part / name / (source.name if box is None else f"{source.stem}_{i}.png")
                if target.exists():
                    continue
                if box is None:
                    target.write_bytes(source.read_bytes())
                else:
                    _cut_out(source, box).save(target)


def _cut_out(source: Path, box: Box) -> Image.Image:
    image = Image.open(source).convert("RGB")
    left, top, right, bottom = box
    x, y = AROUND * (right - left), AROUND * (bottom - top)
    right, bottom = min(image.width, int(right + x)), min(image.height, int(bottom + y))
    return image.crop((max(0, int(left - x)), max(0, int(top - y)), right, bottom))
