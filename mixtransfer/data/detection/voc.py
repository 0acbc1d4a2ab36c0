"""Pascal VOC: `JPEGImages/`, `Annotations/*.xml` and `ImageSets/Main/*.txt`."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from mixtransfer.data.detection.listed import ListedBoxes, ListedDetection
from mixtransfer.data.images import is_image_name
from mixtransfer.errors import UserError

FOLDERS = ("JPEGImages", "Annotations")


def list_voc(root: Path) -> ListedDetection:
    """List a dataset in Pascal VOC's layout.

    The parts are those of ``ImageSets/Main`` (``train``, ``val``, ``test``; or ``trainval``, from which validation
    then comes); without them all images are one part. Classes are the names that occur, sorted. Coordinates are
    1-based pixels, both ends included (VOC2007 development kit, section 5), so that xmin=1, xmax=width covers the
    whole width: 1 is taken off xmin and ymin. Objects marked ``difficult`` are ignored as crowd is, which is what the
    kit's evaluation does; they are no training targets.

    Raises:
        UserError: An annotation is missing or is not VOC's; the message names the file.
    """
    images = {path.stem: path for path in sorted((root / FOLDERS[0]).iterdir()) if is_image_name(path)}
    stems = _stems(root)
    numbers = {stem: i for i, stem in enumerate(sorted({stem for part in stems.values() for stem in part}), 1)}
    objects = {stem: _read(root / FOLDERS[1] / f"{stem}.xml") for stem in numbers}
    classes = sorted({name for _, found in objects.values() for name, *_ in found})
    if not classes:
        raise UserError(f"{root} has no box: not one of its annotations has an object.")
    label = {name: i for i, name in enumerate(classes)}
    parts = {}
    for part, names in stems.items():
        found = [(i, *entry) for i, stem in enumerate(names) for entry in objects[stem][1]]
        parts[part] = ListedBoxes(
            files=[images.get(stem, root / FOLDERS[0] / f"{stem}.jpg") for stem in names],
            image_ids=[numbers[stem] for stem in names],
            sizes=[objects[stem][0] for stem in names],
            image=np.array([i for i, *_ in found], dtype=np.int64),
            boxes=np.array([box for *_, box in found], dtype=np.float64).reshape(-1, 4) - (1, 1, 0, 0),
            labels=np.array([label[name] for _, name, *_ in found], dtype=np.int64),
            crowd=np.array([difficult for _, _, difficult, _ in found], dtype=bool),
            ids=np.arange(1, len(found) + 1),
            area=np.full(len(found), np.nan),
        )
    return ListedDetection(root.name, root, classes, list(range(1, len(classes) + 1)), parts)


def _stems(root: Path) -> dict[str, list[str]]:
    lists = {path.stem: path for path in (root / "ImageSets" / "Main").glob("*.txt")}
    if "train" not in lists and "trainval" not in lists:
        return {"all": sorted(path.stem for path in (root / FOLDERS[1]).glob("*.xml"))}
    parts = {"train": lists.get("train"), "val": lists.get("val"), "test": lists.get("test")}
    if not (parts["train"] and parts["val"]) and "trainval" in lists:
        parts |= {"train": lists["trainval"], "val": None}
    return {part: _listed_stems(path) for part, path in parts.items() if path}


def _listed_stems(path: Path) -> list[str]:
    try:
        stems = [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}).") from error
    for stem in stems:
        if Path(stem).name != stem or "\0" in stem:
            raise UserError(f"{path} names {stem!r}, which must be the name of an image in {FOLDERS[0]}.")
    return stems


class _PlainTree(ElementTree.TreeBuilder):
    """Refuses a document type: annotations need none, and its entities can make a small file huge."""

    def doctype(self, *_: str | None) -> None:
        raise ValueError("it declares a document type")


def _read(path: Path) -> tuple[tuple[int, int] | None, list[tuple[str, bool, list[float]]]]:
    """Size, and name, difficult and box of each object of one annotation file."""
    try:
        tree = ElementTree.parse(path, ElementTree.XMLParser(target=_PlainTree())).getroot()
        width, height = (int(float(tree.findtext(f"size/{side}") or 0)) for side in ("width", "height"))
        objects = [
            (
                entry.findtext("name", "").strip(),
                entry.findtext("difficult", "0").strip() == "1",
                [float(entry.findtext(f"bndbox/{corner}", "")) for corner in ("xmin", "ymin", "xmax", "ymax")],
            )
            for entry in tree.iter("object")
        ]
    except FileNotFoundError:
        raise UserError(f"{path} is missing, but its image is listed: add it, or take the image out.") from None
    except (OSError, ElementTree.ParseError, TypeError, ValueError, OverflowError, LookupError) as error:
        raise UserError(f"{path} is not a Pascal VOC annotation ({error}).") from error
    if not all(name for name, *_ in objects):
        raise UserError(f"{path} has an object without a name.")
    return ((width, height) if width and height else None), objects
