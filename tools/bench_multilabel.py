"""Several labels an image, on COCO's photographs: fine-tuned networks against heads on frozen features.

    python tools/bench_multilabel.py --coco path/to/coco --output build/multilabel --seeds 3

Which of ten classes a photograph shows comes from its boxes: the ten most frequent that are not in nearly all of them.
Of all images 30 % are tested, others for every seed, by splits that runs share. `classify train` trains twice: with
--epochs 0, the head on frozen features alone, and by its defaults, or --epochs and --loss. What is told is each one's
mean average precision and the difference on the same test images, with 95 % intervals by a bootstrap, and over the
seeds; for the fine-tuned also F1 at the thresholds that validation chose, beside that at 0.5. The test parts choose
nothing. The same command goes on after an interrupt.
"""

import argparse
import csv
import json
import shutil
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from sklearn.metrics import f1_score

from mixtransfer.classification.answers import read_label_answers
from mixtransfer.commandline.cli import main as mixtransfer
from mixtransfer.comparison.rows import outcome_of
from mixtransfer.runs.run import Run

CLASSES = 10
EVERYWHERE = 0.8  # share of images with a class from which on it says nothing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coco", type=Path, required=True, help="folder with annotations/ and the images' folders")
    parser.add_argument("--output", type=Path, default=Path("build/multilabel"))
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--loss", default="bce")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    data = given.output / "labels.csv"
    if not data.exists():
        write_labels(given.coco, data)
    rows = [measured(data, seed, given) for seed in range(given.seeds)]
    differences = np.array([row["difference"]["value"] for row in rows])
    found = {"rows": rows, "mean difference": float(differences.mean())}
    if len(rows) > 1:
        found["standard deviation over seeds"] = float(differences.std(ddof=1))
    (given.output / "result.json").write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


def write_labels(coco: Path, file: Path) -> None:
    """A manifest of the images of a COCO folder, with the frequent classes of their boxes as labels."""
    shown: dict[str, set[str]] = {}
    for annotations in sorted((coco / "annotations").glob("instances_*.json")):
        values = json.loads(annotations.read_text())
        names = {one["id"]: one["name"] for one in values["categories"]}
        boxes = defaultdict(set)
        for one in values["annotations"]:
            boxes[one["image_id"]].add(names[one["category_id"]])
        folder = coco / annotations.stem.removeprefix("instances_")
        for image in values["images"]:
            shown[copied(folder / image["file_name"], file.parent / "images")] = boxes[image["id"]]
    counts = Counter(name for own in shown.values() for name in own)
    frequent = [name for name, count in counts.most_common() if count < EVERYWHERE * len(shown)][:CLASSES]
    with file.open("w", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(["path", "labels"])
        writer.writerows([name, ";".join(sorted(own & set(frequent)))] for name, own in sorted(shown.items()))


def copied(image: Path, folder: Path) -> str:
    """An image's name below the manifest's folder, to which it is copied: a manifest lists no others."""
    folder.mkdir(exist_ok=True)
    shutil.copy(image, folder / image.name)
    return f"{folder.name}/{image.name}"


def measured(data: Path, seed: int, given: argparse.Namespace) -> dict:
    """A row of the table."""
    shared = ["--split-seed", seed, "--seed", seed, "--test-fraction", 0.3]
    shared += ["--image-size", given.image_size] if given.image_size else []
    more = ["--loss", given.loss, *(["--epochs", given.epochs] if given.epochs else [])]
    runs = {
        "frozen": trained(given, data, f"frozen-{seed}", [*shared, "--epochs", 0]),
        "fine-tuned": trained(given, data, f"tuned-{seed}", [*shared, *more]),
    }
    outcomes = {name: outcome_of([run]) for name, run in runs.items()}
    answers = read_label_answers(runs["fine-tuned"].test_predictions)
    truth, said = answers.predictions.labels, answers.predictions.probabilities >= 0.5
    metrics = runs["fine-tuned"].read_metrics()
    return {
        "seed": seed,
        "images": outcomes["frozen"].images,
        **{name: outcome.score().to_dict() for name, outcome in outcomes.items()},
        "difference": outcomes["fine-tuned"].less(outcomes["frozen"]).estimate.to_dict(),
        "fine_tuned_share": metrics["training"]["fine_tuned_share"],
        "macro F1": metrics["test"]["macro_f1"],
        "macro F1 at 0.5": float(f1_score(truth, said, average="macro", zero_division=0)),
        "calibration error": metrics["test"]["calibration_error"]["value"],
        "minutes": metrics["training"]["seconds"] / 60,
    }


def trained(given: argparse.Namespace, data: Path, name: str, words: list[object]) -> Run:
    run = Run(given.output / name)
    if "test" not in run.read_metrics():
        begun = ["--resume", run.folder] if run.checkpoint.exists() else [
            data, "--backbone", given.backbone, "--output", run.folder, *words
        ]  # fmt: skip
        if code := mixtransfer(["classify", "train", *map(str, begun)]):
            raise SystemExit(code)
    return run


if __name__ == "__main__":
    main()
