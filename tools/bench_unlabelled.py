"""What images without labels bring, on CIFAR-10 with 40 labels a class.

    python tools/bench_unlabelled.py --cifar data/cifar10 --output build/unlabelled --seeds 3 --image-size 96

Of each class 40 images of the training part have labels, others for every seed; 100 are left for whoever chooses
settings, and the rest have lost theirs. `classify train` trains by its defaults on the labelled ones alone; with
--unlabelled, where the head on frozen features gives the labels; and with that and the first training as the
--teacher, which then gives them. Told is the accuracy on the test images, which choose nothing, the share of the given
labels that are right, and of what the unlabelled images add the standard error over the test images. The same command
goes on after an interrupt.
"""

import argparse
import csv
import json
from pathlib import Path

import numpy as np
from bench_defaults import answers, trained

from mixtransfer.runs.run import Run

LABELLED, LEFT = 40, 100  # images of a class


def write_set(cifar: Path, seed: int, folder: Path) -> None:
    """Make ``set`` with its two parts, and ``unlabelled``; links that are there are left."""
    generator = np.random.default_rng(seed)
    for kind in sorted((cifar / "train").iterdir()):
        files = sorted(kind.iterdir())
        order = generator.permutation(len(files))
        for file in (files[i] for i in order[:LABELLED]):
            link(file, folder / "set" / "train" / kind.name / file.name)
        for file in (files[i] for i in order[LABELLED + LEFT :]):
            link(file, folder / "unlabelled" / f"{kind.name}_{file.name}")
        for file in (cifar / "test" / kind.name).iterdir():
            link(file, folder / "set" / "test" / kind.name / file.name)


def link(file: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.exists():
        place.symlink_to(file.absolute())


def right(run: Run) -> float:
    """The share of the labels given to images without any that are theirs; their files' names begin with it."""
    with run.pseudo_labels.open(encoding="utf-8", newline="") as file:
        hits = [Path(row["path"]).name.startswith(row["class"]) for row in csv.DictReader(file)]
    return float(np.mean(hits)) if hits else 0.0


def measured(seed: int, given: argparse.Namespace) -> dict:
    """A row of the table."""
    folder = given.output / f"seed-{seed}"
    write_set(given.cifar, seed, folder)
    data, unlabelled = folder / "set", str(folder / "unlabelled")
    shared = {"backbone": given.backbone, "image_size": given.image_size, "epochs": given.epochs, "workers": 0}
    alone = trained(data, folder / "alone", **shared)
    runs = {
        "alone": alone,
        "own labels": trained(data, folder / "own", unlabelled=unlabelled, **shared),
        "the first as teacher": trained(
            data, folder / "taught", unlabelled=unlabelled, teacher=str(alone.folder), **shared
        ),
    }
    row: dict = {"seed": seed}
    for name, run in runs.items():
        row[name] = run.read_metrics()["test"]["top1"]["value"]
        if run is not alone:
            gains = answers(run)[0] - answers(alone)[0]
            row[f"{name}: gain"] = gains.mean()
            row[f"{name}: standard error"] = gains.std(ddof=1) / len(gains) ** 0.5
            row[f"{name}: labels right"] = right(run)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", type=Path, required=True, help="CIFAR-10 as an image folder")
    parser.add_argument("--output", type=Path, default=Path("build/unlabelled"))
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    rows = []
    for seed in range(given.seeds):
        rows.append(measured(seed, given))
        print(json.dumps({name: round(v, 4) for name, v in rows[-1].items()}), flush=True)
    for name in (name for name in rows[0] if name.endswith("gain")):
        print(f"{name}, mean of {len(rows)} seeds: {100 * np.mean([row[name] for row in rows]):.2f} points")


if __name__ == "__main__":
    main()
