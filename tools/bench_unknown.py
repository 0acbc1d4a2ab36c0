"""How well images of no class are told from those of the classes: classes held out, and images of another set.

    python tools/bench_unknown.py --data-root data --output build/unknown --sets food,cifar-10x50 --seeds 3

Of each set of ``small_sets.py`` two classes are left out, others for every seed; `classify train` sees the rest. Then
the run's share ``known`` is to tell its test images from those of the two classes (near), and from the test images of
another set (far): AUROC, and the share of unknown images that pass where 95 % of the known test images do (FPR at
95 %). Beside it the maximum of the softmax, which every classifier has. Accepted are the test images of the classes
that are not called unknown, of which 95 % are meant to. The test parts choose nothing. The same command goes on after
an interrupt.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
from bench_defaults import trained
from sklearn.metrics import roc_auc_score
from small_sets import SETS, write_set

import mixtransfer as mt
from mixtransfer.prediction import ClassificationModel

HELD_OUT = 2  # classes of a set
FAR = {"food": "cifar-10x50"}  # what else is shown; of all others food


def without(folder: Path, held_out: list[str], target: Path) -> Path:
    """The same set without some classes."""
    for part in ("train", "test"):
        for one in sorted((folder / part).iterdir()):
            if one.name not in held_out:
                shutil.copytree(one, target / part / one.name, dirs_exist_ok=True)
    return target


def told_apart(known: np.ndarray, unknown: np.ndarray) -> tuple[float, float]:
    """AUROC, and the share of unknown images that pass with 95 % of the known ones."""
    labels = np.repeat([1, 0], [len(known), len(unknown)])
    return roc_auc_score(labels, np.concatenate([known, unknown])), float((unknown >= np.quantile(known, 0.05)).mean())


def scores(run: mt.Run, files: list[Path]) -> dict[str, np.ndarray]:
    """What ranks images by how known they look, each shape (n,)."""
    model = mt.load(run)
    assert isinstance(model, ClassificationModel)
    answers = model.predict(files)
    return {
        "known": np.array([answer.known for answer in answers]),
        "softmax": np.array([answer.probability for answer in answers]),
    }


def measured(name: str, seed: int, given: argparse.Namespace) -> dict:
    """A row of the table."""
    folder, other = given.output / "sets" / name, given.output / "sets" / FAR.get(name, "food")
    for one in (folder, other):
        write_set(SETS[one.name], given.data_root, one)
    classes = sorted(one.name for one in (folder / "test").iterdir())
    held_out = sorted(np.random.default_rng(seed).choice(classes, HELD_OUT, replace=False).tolist())
    data = without(folder, held_out, given.output / "sets" / f"{name}-{seed}")
    options = {"backbone": given.backbone, "image_size": given.image_size, "seed": seed, "epochs": given.epochs}
    run = trained(data, given.output / "runs" / f"{name}-{seed}", **options)
    files = {
        "seen": [file for kind in classes if kind not in held_out for file in (folder / "test" / kind).iterdir()],
        "near": [file for kind in held_out for file in (folder / "test" / kind).iterdir()],
        "far": list((other / "test").rglob("*.*")),
    }
    found = {part: scores(run, sorted(own)) for part, own in files.items()}
    row: dict = {"set": name, "seed": seed, "held out": held_out}
    for score in ("known", "softmax"):
        for part in ("near", "far"):
            auroc, passed = told_apart(found["seen"][score], found[part][score])
            row |= {f"{score}, {part}: AUROC": auroc, f"{score}, {part}: FPR at 95 %": passed}
    row["accepted"] = float((found["seen"]["known"] >= 0.05).mean())
    return row | {f"called unknown, {part}": float((found[part]["known"] < 0.05).mean()) for part in ("near", "far")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    parser.add_argument("--output", type=Path, default=Path("build/unknown"))
    parser.add_argument("--sets", default="food,cifar-10x50", help="names, with commas between them")
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--epochs", type=int, help="by default as training chooses it; 0: the head alone")
    parser.add_argument("--image-size", type=int, help="by default as training chooses it")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    for name in given.sets.split(","):
        rows = [measured(name, seed, given) for seed in range(given.seeds)]
        for row in rows:
            print(json.dumps({key: round(v, 4) if isinstance(v, float) else v for key, v in row.items()}), flush=True)
        for key in [key for key, value in rows[0].items() if isinstance(value, float)]:
            values = [100 * row[key] for row in rows]
            print(f"{name}, {key}: mean {np.mean(values):.1f} %, from {min(values):.1f} to {max(values):.1f}")


if __name__ == "__main__":
    main()
