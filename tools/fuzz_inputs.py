"""Inputs that nobody would write: raw bytes, raw text, and valid documents with a few places changed."""

import copy
import csv
import io
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import yaml
from hypothesis import strategies as st

from mixtransfer.classification.options import EvaluateOptions
from mixtransfer.runs.model_card import ModelCard

JUNK = st.one_of(
    st.sampled_from([None, True, "", "a", "\x00", "\ud800", "../../x", "/etc/passwd", "1e999", 0, -1, 10**400, [], {}]),
    st.integers(),
    st.floats(),
    st.text(max_size=6),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


@st.composite
def changed(draw: st.DrawFn, valid: Any) -> Any:
    """A document with one to three of its values replaced, removed or stored under another key."""
    document = copy.deepcopy(valid)
    for _ in range(draw(st.integers(1, 3))):
        holder = document
        while holder:
            key = draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
            if isinstance(holder[key], dict | list) and holder[key] and draw(st.booleans()):
                holder = holder[key]
                continue
            how = draw(st.sampled_from(["replace", "remove", "rename"]))
            value = draw(JUNK) if how == "replace" else holder[key]
            if how == "replace":
                holder[key] = value
            else:
                del holder[key]
            if how == "rename" and isinstance(holder, dict):
                holder[draw(st.text(max_size=4))] = value
            break
    return document


def files(valid: list, write: Callable[[Any], str]) -> st.SearchStrategy[bytes]:
    """Raw bytes, raw text, and the valid documents changed or cut."""
    texts = st.one_of([changed(document).map(write) for document in valid])
    encoded = texts.map(lambda text: text.encode("utf-8", "surrogatepass"))
    cut = st.tuples(encoded, st.integers(0, 400)).map(lambda pair: pair[0][: pair[1]])
    return st.one_of(encoded, encoded, encoded, cut, st.binary(max_size=80), st.text(max_size=80).map(str.encode))


@st.composite
def altered(draw: st.DrawFn, valid: bytes) -> bytes:
    """Bytes with up to four changed, sometimes cut."""
    data = bytearray(valid)
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.integers(0, 3)) == 0 else data)


def to_csv(rows: list) -> str:
    text = io.StringIO()
    csv.writer(text).writerows([row if isinstance(row, list) else [row] for row in rows])
    return text.getvalue()


def to_yaml(document: object) -> str:
    return yaml.safe_dump(document, allow_unicode=True)


MANIFEST = [["path", "label", "split"], ["a/1.png", "a", "train"], ["b/2.png", "b", "train"], ["a/3.png", "a", "test"]]
COCO = {
    "info": {},
    "images": [{"id": i, "file_name": f"{i}.png", "width": 8, "height": 8} for i in (1, 2, 3, 4)],
    "annotations": [
        {"id": i, "image_id": i, "category_id": 3, "bbox": [1, 1, 4.5, 4], "area": 18, "iscrowd": 0} for i in (1, 2, 3)
    ],
    "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}],
}
CONFIG = asdict(EvaluateOptions("runs/x", "images"))
PREPROCESSING = {"size": 32, "crop": 0.9, "interpolation": "bicubic", "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}
DETAILS = {"tap": "auto", "loss": "focal", "category_ids": [1, 2]}
CARDS = [
    asdict(ModelCard("classification", "mixnet_s", ["a", "b"], PREPROCESSING)),
    asdict(ModelCard("detection", "mixnet_s", ["a", "b"], {"size": 96}, details=DETAILS)),
]


YOLO = {"names": ["cat", "dog"], "train": "images", "val": ["images", "images"], "path": ""}
LABELS = ["0 0.5 0.5 0.2 0.2", "1 0.5 0.5 1 1", "0 0 0 0.5 0 0.5 0.5 0 0.5"]
VOC = {
    "size": {"width": "8", "height": "8"},
    "object": {"name": "cat", "difficult": "0", "bndbox": {"xmin": "1", "ymin": "1", "xmax": "5", "ymax": "6"}},
}
LABEL_STUDIO = [
    {
        "id": i,
        "data": {"image": f"/data/upload/1/{i}.png"},
        "annotations": [{"id": i, "was_cancelled": False, "result": [{
            "type": "rectanglelabels", "from_name": "label", "original_width": 8, "original_height": 8,
            "value": {"x": 10, "y": 20, "width": 30.5, "height": 40, "rotation": 0, "rectanglelabels": ["cat"]},
        }]}],
    }
    for i in (1, 2, 3, 4)
]  # fmt: skip
METADATA = [
    {"file_name": f"{i}.png", "objects": {"bbox": [[1, 1, 4.5, 4]], "categories": ["cat"]}} for i in (1, 2, 3, 4)
]
CLASSES = [
    {"file_name": f"{i}.png", "label": i % 2, "split": "test" if i > 2 else "train", "group": "a"} for i in (1, 2, 3, 4)
]
CLASS_TABLE = [["file_name", "class"], ["1.png", "0"], ["2.png", "1"], ["3.png", "0"]]
DATASET_CARD = {"dataset_info": {"features": [{"name": "label", "dtype": {"class_label": {"names": {"0": "cat"}}}}]}}
DARKNET = ["classes = 2", "train = data/train.txt", "names = data/obj.names", "backup = backup/"]
BACKBONE = {
    "format": 1, "name": "found", "stem": 16, "blocks": [["ds_r1_k3_s1_e1_c16"], ["ir_r1_k3.5_s2_e6_c24"]],
    "head": 64, "image_size": 32,
}  # fmt: skip


def to_card(document: object) -> str:
    return f"---\n{to_yaml(document)}---\n# A data set\n"


def to_json_lines(rows: list) -> str:
    return "\n".join(map(json.dumps, rows))


def to_lines(lines: list) -> str:
    return "\n".join(map(str, lines))


def to_xml(document: Any, name: str = "annotation") -> str:
    parts = document.items() if isinstance(document, dict) else []
    inside = "".join(to_xml(value, str(key)) for key, value in parts) or str(document)
    return f"<{name}>{inside}</{name}>"
