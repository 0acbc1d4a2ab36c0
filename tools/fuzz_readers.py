"""Feed what nobody would write to the readers of files that may come from strangers, and count the tracebacks.

    python tools/fuzz_readers.py --inputs 100000

Inputs are raw bytes, raw text, and valid files with a few places changed, from hypothesis. A reader may accept an input
or raise UserError; anything else is counted and shown with its input.
"""

import argparse
import copy
import csv
import functools
import io
import json
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as hypothesis_seed
from hypothesis import strategies as st
from PIL import Image

from mixtransfer import arguments
from mixtransfer.classification.model import read_classifier_card
from mixtransfer.classification.options import EvaluateOptions
from mixtransfer.data.detection.coco_layout import list_coco_file
from mixtransfer.data.draw import Draw
from mixtransfer.data.manifest import list_manifest
from mixtransfer.detection.model import read_detector_card
from mixtransfer.errors import UserError
from mixtransfer.run import ModelCard, Run

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


def _csv(rows: list) -> str:
    text = io.StringIO()
    csv.writer(text).writerows([row if isinstance(row, list) else [row] for row in rows])
    return text.getvalue()


def _yaml(document: object) -> str:
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


def read_coco(path: Path) -> None:
    list_coco_file(path).dataset(Draw(0.3, 0.3))


def read_config(path: Path) -> None:
    Run(path.parent).options(EvaluateOptions)  # type: ignore[type-var]  # any option class will do


def read_card(path: Path) -> None:
    try:
        read_classifier_card(path)
    except UserError:
        read_detector_card(path)


@dataclass(frozen=True)
class Reader:
    """A reader, the name of its file, and inputs for it."""

    read: Callable[[Path], object]
    file: str
    inputs: st.SearchStrategy[bytes]


READERS = {
    "manifest": Reader(list_manifest, "m.csv", files([MANIFEST], _csv)),
    "COCO JSON": Reader(read_coco, "coco.json", files([COCO], json.dumps)),
    "config": Reader(read_config, "config.yaml", files([CONFIG], _yaml)),
    "model.json": Reader(read_card, "model.json", files(CARDS, json.dumps)),
}


def fuzz(reader: Reader, inputs: int, seed: int, folder: Path) -> tuple[Counter, dict[str, bytes]]:
    """Read so many inputs: how often each kind of traceback came, and an input for each."""
    for i in (1, 2, 3, 4):
        Image.new("RGB", (8, 8)).save(folder / f"{i}.png")
    counts: Counter = Counter()
    examples: dict[str, bytes] = {}

    @settings(
        max_examples=inputs,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis_seed(seed)
    @given(reader.inputs)
    def feed(data: bytes) -> None:
        (folder / reader.file).write_bytes(data)
        counts["inputs"] += 1
        try:
            reader.read(folder / reader.file)
            counts["accepted"] += 1
        except UserError as error:
            if "\n" in str(error) or not str(error):
                counts["not one sentence"] += 1
                examples.setdefault("not one sentence", data)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            kind = f"{type(error).__name__} in {place.filename}, line {place.lineno}"
            counts[kind] += 1
            examples.setdefault(kind, data)

    feed()
    return counts, examples


def _fuzz(task: tuple[str, int, int]) -> tuple[Counter, dict[str, bytes], float]:
    name, inputs, seed = task
    make = arguments._parser  # takes longer than parsing, so here it is made once
    parser_of = functools.cache(lambda name, cls: make(name, cls, {"data": "?"}))
    arguments._parser = lambda name, cls, positionals: parser_of(name, cls)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        return *fuzz(READERS[name], inputs, seed, Path(folder)), time.perf_counter() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000, help="in all, shared by the readers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--readers", help=f"some of {', '.join(READERS)}; by default all")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="readers at a time")
    options = parser.parse_args()
    chosen = options.readers.split(",") if options.readers else list(READERS)
    total = 0
    each = [(name, options.inputs // len(chosen), options.seed) for name in chosen]
    with ProcessPoolExecutor(options.jobs) as pool:
        results = pool.map(_fuzz, each)
    for name, (counts, examples, seconds) in zip(chosen, results, strict=True):
        tracebacks = {kind: n for kind, n in counts.items() if kind in examples}
        total += sum(tracebacks.values())
        print(
            f"{name}: {counts['inputs']:,} inputs, {counts['accepted']:,} accepted, {sum(tracebacks.values())} "
            f"tracebacks, {seconds:.0f} s",
            flush=True,
        )
        for kind, count in tracebacks.items():
            print(f"  {count}: {kind}, such as {examples[kind][:300]!r}")
    print(f"{total} tracebacks.")
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
