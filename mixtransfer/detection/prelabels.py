"""What a detector finds, as data sets of images with boxes: to correct in a labelling tool, and to train on."""

import json
import shutil
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import yaml

from mixtransfer.common.files import is_unused, write_atomic
from mixtransfer.common.messages import remark
from mixtransfer.data.detection.coco import FOUND
from mixtransfer.data.images import IMAGE_SUFFIXES, is_turned
from mixtransfer.detection.scores import Detections
from mixtransfer.detection.shots import Shot
from mixtransfer.errors import UserError


def coco_instances(
    images: Sequence[dict[str, Any]],
    detections: Sequence[Detections],
    classes: Sequence[str],
    category_ids: Sequence[int],
    description: str,
) -> str:
    """Detections as a COCO file of instance annotations, which have a ``score`` more.

    Args:
        images: ``id``, ``file_name``, ``width`` and ``height`` of each, and whatever else is known.
        detections: Of these images.
        classes, category_ids: Names and ids by label.
        description: For ``info``.
    """
    annotations: list[dict[str, Any]] = []
    for one in detections:
        for (x1, y1, x2, y2), score, label in zip(one.boxes.tolist(), one.scores, one.labels, strict=True):
            box = [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": one.image_id,
                    "category_id": category_ids[label],
                    "bbox": box,
                    "area": round(box[2] * box[3], 2),
                    "iscrowd": 0,
                    "segmentation": [],
                    "score": round(float(score), 5),
                }
            )
    contents = {
        "info": {"description": description},
        "images": list(images),
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for i, name in zip(category_ids, classes, strict=True)],
    }
    return json.dumps(contents, ensure_ascii=False) + "\n"


class Prelabels(ABC):
    """A folder of images and of what was found in them, in a layout that others read too.

    Images are copied as they are (those whose names are no images' as PNG); of videos the frames are written as JPEG.
    Boxes are of the picture as it is shown, upright. An image without detections is one without objects.

    Args:
        folder: To be made.
        classes, category_ids: Names and ids by label.
        model: What found it.

    Raises:
        UserError: The folder holds something already.
    """

    title: str
    images = "images"  # the folder of the images

    def __init__(self, folder: Path, classes: list[str], category_ids: list[int], model: str):
        if not is_unused(folder):
            raise UserError(f"{folder} holds labels already, perhaps corrected ones: choose another --output.")
        self.folder, self.classes, self.category_ids, self.model = folder, classes, category_ids, model
        (folder / self.images).mkdir(parents=True, exist_ok=True)
        self.names = _Names()
        self.count, self.boxes, self.turned = 0, 0, 0

    def add(self, shot: Shot, detections: Detections) -> None:
        """Take an image that could be used, and what was found in it."""
        assert shot.image
        name = self.names.of(shot.path, shot.frame)
        target = self.folder / self.images / name
        if shot.frame is None and target.suffix == shot.path.suffix:
            shutil.copyfile(shot.path, target)
            self.turned += is_turned(shot.path)
        else:
            shot.image.save(target, quality=95)
        self.count += 1
        self.boxes += len(detections.scores)
        self.label(name, shot.image.size, detections)

    def close(self) -> None:
        """Write what stands once for all, and say what there is."""
        self.finish()
        remark(f"Written: {self.folder}, {self.count} images with {self.boxes} boxes as {self.title} has them.")
        if self.names.changed:
            remark(f"Images of the same name have others there: {self.names.changed}.")
        if self.turned:
            remark(f"Images that EXIF turns: {self.turned}; their boxes are of the picture as it is shown, upright.")

    @abstractmethod
    def label(self, name: str, size: tuple[int, int], detections: Detections) -> None:
        """Write what was found in the image of a name, of a width and height."""

    @abstractmethod
    def finish(self) -> None:
        """Write what stands once for all images."""


class CocoLabels(Prelabels):
    """``images/`` and ``annotations/instances.json``."""

    title = "COCO"

    def __init__(self, *args):
        super().__init__(*args)
        self.entries: list[dict[str, Any]] = []
        self.found: list[Detections] = []

    def label(self, name: str, size: tuple[int, int], detections: Detections) -> None:
        self.entries.append({"id": detections.image_id, "file_name": name, "width": size[0], "height": size[1]})
        self.found.append(detections)

    def finish(self) -> None:
        (self.folder / "annotations").mkdir(exist_ok=True)
        text = coco_instances(self.entries, self.found, self.classes, self.category_ids, f"{FOUND} {self.model}")
        write_atomic(self.folder / "annotations" / "instances.json", text)


class YoloLabels(Prelabels):
    """``images/``, ``labels/`` and ``data.yaml``."""

    title = "YOLO"

    def label(self, name: str, size: tuple[int, int], detections: Detections) -> None:
        lines = []
        for label, (x1, y1, x2, y2) in zip(detections.labels, detections.boxes.tolist(), strict=True):
            width, height = size
            values = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height
            lines.append(f"{label} {' '.join(f'{value:.7f}' for value in values)}\n")
        (self.folder / "labels").mkdir(exist_ok=True)
        write_atomic(self.folder / "labels" / f"{Path(name).stem}.txt", "".join(lines))

    def finish(self) -> None:
        contents = {"train": self.images, "nc": len(self.classes), "names": dict(enumerate(self.classes))}
        write_atomic(self.folder / "data.yaml", yaml.safe_dump(contents, allow_unicode=True, sort_keys=False))


class VocLabels(Prelabels):
    """``JPEGImages/`` and ``Annotations/``; whole pixels from 1 on, both ends included, as Pascal VOC counts."""

    title, images = "Pascal VOC", "JPEGImages"

    def label(self, name: str, size: tuple[int, int], detections: Detections) -> None:
        root = ElementTree.Element("annotation")
        _leaves(root, folder=self.images, filename=name)
        _leaves(ElementTree.SubElement(root, "size"), width=size[0], height=size[1], depth=3)
        _leaves(root, segmented=0)
        for label, box in zip(detections.labels, detections.boxes, strict=True):
            entry = ElementTree.SubElement(root, "object")
            _leaves(entry, name=self.classes[label], pose="Unspecified", truncated=0, difficult=0)
            x1, y1, x2, y2 = (round(float(value)) for value in box)
            corners = {"xmin": x1 + 1, "ymin": y1 + 1, "xmax": max(x2, x1 + 1), "ymax": max(y2, y1 + 1)}
            _leaves(ElementTree.SubElement(entry, "bndbox"), **corners)
        ElementTree.indent(root)
        (self.folder / "Annotations").mkdir(exist_ok=True)
        text = ElementTree.tostring(root, encoding="unicode") + "\n"
        write_atomic(self.folder / "Annotations" / f"{Path(name).stem}.xml", text)

    def finish(self) -> None:
        pass


class LabelStudioLabels(Prelabels):
    """``images/``, ``tasks.json`` with predictions, and ``config.xml``, the labelling interface that these are of.

    The images are addressed as those of a local storage whose document root is the folder.
    """

    title = "Label Studio"

    def __init__(self, *args):
        super().__init__(*args)
        self.tasks: list[dict[str, Any]] = []

    def label(self, name: str, size: tuple[int, int], detections: Detections) -> None:
        percent = [100 / size[0], 100 / size[1]]
        results = []
        for i, label in enumerate(detections.labels):
            x1, y1, x2, y2 = detections.boxes[i].tolist()
            place = {"x": x1 * percent[0], "y": y1 * percent[1]}
            place |= {"width": (x2 - x1) * percent[0], "height": (y2 - y1) * percent[1]}
            results.append(
                {
                    "id": f"{detections.image_id}-{i + 1}",
                    "type": "rectanglelabels",
                    "from_name": "label",
                    "to_name": "image",
                    "original_width": size[0],
                    "original_height": size[1],
                    "image_rotation": 0,
                    "score": round(float(detections.scores[i]), 5),
                    "value": {
                        **{key: round(value, 5) for key, value in place.items()},
                        "rotation": 0,
                        "rectanglelabels": [self.classes[label]],
                    },
                }
            )
        score = round(float(detections.scores.mean()), 5) if len(results) else 0.0
        prediction = {"model_version": self.model, "score": score, "result": results}
        address = f"/data/local-files/?d={quote(f'{self.images}/{name}')}"
        self.tasks.append({"data": {"image": address}, "predictions": [prediction]})

    def finish(self) -> None:
        view = ElementTree.Element("View")
        ElementTree.SubElement(view, "Image", name="image", value="$image")
        labels = ElementTree.SubElement(view, "RectangleLabels", name="label", toName="image")
        for name in self.classes:
            ElementTree.SubElement(labels, "Label", value=name)
        ElementTree.indent(view)
        write_atomic(self.folder / "config.xml", ElementTree.tostring(view, encoding="unicode") + "\n")
        write_atomic(self.folder / "tasks.json", json.dumps(self.tasks, ensure_ascii=False) + "\n")
        remark(
            "Start Label Studio with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and "
            f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={self.folder.resolve()}, take config.xml as the labelling "
            f"interface, add {self.images} there as local storage, and import tasks.json."
        )


PRELABELS: dict[str, type[Prelabels]] = {
    "coco": CocoLabels, "yolo": YoloLabels, "voc": VocLabels, "labelstudio": LabelStudioLabels,
}  # fmt: skip


class _Names:
    """Names for copies of images in one folder, which differ in more than their suffix and capitals.

    Attributes:
        changed: How many are not those of the images.
    """

    def __init__(self):
        self.taken: set[str] = set()
        self.changed = 0

    def of(self, path: Path, frame: int | None) -> str:
        """The image's own name, else with that of its folder, else with a number too."""
        suffix = ".jpg" if frame is not None else path.suffix if path.suffix.lower() in IMAGE_SUFFIXES else ".png"
        behind = "" if frame is None else f"_{frame:06}"
        own, longer = (
            "".join(letter if letter.isprintable() else "_" for letter in stem + behind).lstrip(".")
            for stem in (path.stem, f"{path.absolute().parent.name}_{path.stem}")
        )
        tries = (own, longer, *(f"{longer}-{i}" for i in range(2, len(self.taken) + 3)))
        name = next(one for one in tries if _folded(one) not in self.taken)
        self.taken.add(_folded(name))
        self.changed += name != own
        return name + suffix


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _leaves(parent: ElementTree.Element, **texts: object) -> None:
    for tag, text in texts.items():
        ElementTree.SubElement(parent, tag).text = str(text)
