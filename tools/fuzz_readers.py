"""Feed what nobody would write to the readers of files that may come from strangers, and count tracebacks and code run.

    python tools/fuzz_readers.py --inputs 100000

Inputs are raw bytes, raw text, and valid files with a few places changed, from hypothesis; archives also with code in
them, see fuzz_archives.py. A reader may accept an input or raise UserError; anything else is counted and shown with its
input.
"""

import argparse
import functools
import json
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fuzz_archives import canary
from fuzz_inputs import (
    BACKBONE,
    CARDS,
    CLASS_TABLE,
    CLASSES,
    COCO,
    CONFIG,
    DARKNET,
    DATASET_CARD,
    LABEL_STUDIO,
    LABELS,
    MANIFEST,
    METADATA,
    VOC,
    YOLO,
    files,
    to_card,
    to_csv,
    to_json_lines,
    to_lines,
    to_xml,
    to_yaml,
)
from fuzz_models import onnx_inputs, pt2_inputs, safetensors_inputs, torch_inputs
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as hypothesis_seed
from hypothesis import strategies as st
from PIL import Image

from mixtransfer.backbones.architecture import read_architecture
from mixtransfer.backbones.weights import read_state_dict
from mixtransfer.classification.model import read_classifier_card
from mixtransfer.classification.options import EvaluateOptions
from mixtransfer.commandline import arguments
from mixtransfer.data.detection.coco_layout import list_coco_file
from mixtransfer.data.detection.darknet import list_darknet
from mixtransfer.data.detection.imagefolder import list_imagefolder
from mixtransfer.data.detection.labelimg import list_labelimg
from mixtransfer.data.detection.labelstudio import list_labelstudio
from mixtransfer.data.detection.voc import list_voc
from mixtransfer.data.detection.yolo import list_yolo
from mixtransfer.data.draw import Draw
from mixtransfer.data.manifest import list_manifest, list_metadata
from mixtransfer.data.table import names_in_card, read_table
from mixtransfer.data.tree import Tree
from mixtransfer.deploy.exported import open_exported
from mixtransfer.detection.model import read_detector_card
from mixtransfer.errors import UserError
from mixtransfer.runs.checkpoint import load_checkpoint
from mixtransfer.runs.run import Run


def read_export(path: Path) -> None:
    exported = open_exported(path)
    size = exported.preprocessing.size
    if size <= 64:
        exported(np.zeros((1, size, size, 3), np.uint8))


def read_voc(path: Path) -> None:
    list_voc(Tree(path.parents[1])).dataset(Draw(0.3, 0.3))


def read_yolo(path: Path) -> None:
    list_yolo(path).dataset(Draw(0.3, 0.3))


def read_darknet(path: Path) -> None:
    list_darknet(path).dataset(Draw(0.3, 0.3))


def read_labelimg(path: Path) -> None:
    list_labelimg(Tree(path.parent)).dataset(Draw(0.3, 0.3))


def read_labelstudio(path: Path) -> None:
    list_labelstudio(Tree(path.parent), [path.name]).dataset(Draw(0.3, 0.3))


def read_imagefolder(path: Path) -> None:
    list_imagefolder(Tree(path.parent), [path.name]).dataset(Draw(0.3, 0.3))


def read_labelled(path: Path) -> None:
    list_metadata(Tree(path.parent), [read_table(path)])


def read_card_names(path: Path) -> None:
    for column in ("label", "objects"):
        names_in_card(path, column)


def read_labels(path: Path) -> None:
    read_yolo(path.parents[1] / "data.yaml")


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
    "manifest": Reader(list_manifest, "m.csv", files([MANIFEST], to_csv)),
    "COCO JSON": Reader(read_coco, "coco.json", files([COCO], json.dumps)),
    "config": Reader(read_config, "config.yaml", files([CONFIG], to_yaml)),
    "model.json": Reader(read_card, "model.json", files(CARDS, json.dumps)),
    "backbone JSON": Reader(read_architecture, "backbone.json", files([BACKBONE], json.dumps)),
    "YOLO data.yaml": Reader(read_yolo, "yolo/data.yaml", files([YOLO], to_yaml)),
    "YOLO labels": Reader(read_labels, "yolo/labels/1.txt", files([LABELS], to_lines)),
    "Darknet": Reader(read_darknet, "darknet/obj.data", files([DARKNET], to_lines)),
    "labelImg": Reader(read_labelimg, "labelimg/classes.txt", files([["cat", "dog"]], to_lines)),
    "Label Studio": Reader(read_labelstudio, "studio/tasks.json", files([LABEL_STUDIO], json.dumps)),
    "imagefolder": Reader(read_imagefolder, "imagefolder/metadata.jsonl", files([METADATA], to_json_lines)),
    "imagefolder's classes": Reader(read_labelled, "classes/metadata.jsonl", files([CLASSES], to_json_lines)),
    "imagefolder's classes in CSV": Reader(read_labelled, "classes/metadata.csv", files([CLASS_TABLE], to_csv)),
    "dataset card": Reader(read_card_names, "README.md", files([DATASET_CARD], to_card)),
    "VOC XML": Reader(read_voc, "voc/Annotations/1.xml", files([VOC], to_xml)),
    "weights": Reader(read_state_dict, "weights.pth", st.deferred(torch_inputs)),
    "checkpoint": Reader(load_checkpoint, "last.ckpt", st.deferred(torch_inputs)),
    "safetensors": Reader(read_state_dict, "weights.safetensors", st.deferred(safetensors_inputs)),
    ".pt2": Reader(read_export, "model.pt2", st.deferred(pt2_inputs)),
    ".onnx": Reader(read_export, "model.onnx", st.deferred(onnx_inputs)),
}


def _prepare(folder: Path) -> None:
    """Images and whole datasets around the file that is fuzzed."""
    for place in (".", "voc/JPEGImages", "yolo/images", "darknet/data", "labelimg", "studio", "imagefolder", "classes"):
        (folder / place).mkdir(parents=True, exist_ok=True)
        for i in (1, 2, 3, 4):
            Image.new("RGB", (8, 8)).save(folder / place / f"{i}.png")
    for place in ("voc/Annotations", "yolo/labels"):
        (folder / place).mkdir()
    for i in (1, 2, 3, 4):
        (folder / "voc" / "Annotations" / f"{i}.xml").write_text(to_xml(VOC))
        (folder / "yolo" / "labels" / f"{i}.txt").write_text(to_lines(LABELS))
        for place in ("darknet/data", "labelimg"):
            (folder / place / f"{i}.txt").write_text(to_lines(LABELS[:2]))
    (folder / "yolo" / "data.yaml").write_text(to_yaml(YOLO))
    (folder / "darknet" / "obj.names").write_text("cat\ndog\n")
    (folder / "darknet" / "train.txt").write_text("".join(f"data/{i}.png\n" for i in (1, 2, 3, 4)))


def fuzz(reader: Reader, inputs: int, seed: int, folder: Path) -> tuple[Counter, dict[str, bytes]]:
    """Read so many inputs: how often each kind of traceback came or code was run, and an input for each."""
    _prepare(folder)
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
        if canary().exists():
            canary().rmdir()
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
        if canary().exists():
            counts["code run"] += 1
            examples.setdefault("code run", data)

    feed()
    return counts, examples


def _fuzz(task: tuple[str, int, int]) -> tuple[Counter, dict[str, bytes], float]:
    name, inputs, seed = task
    make = arguments.option_parser  # takes longer than parsing, so here it is made once
    parser_of = functools.cache(lambda name, cls: make(name, cls, {"data": "?"}))
    arguments.option_parser = lambda name, cls, positionals: parser_of(name, cls)
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
