"""What `mixtransfer tune` brings over the defaults, on small sets of images.

    python tools/bench_tune.py --data-root data --output build/tune --trials 12 --epochs 8 --image-size 96

The sets have some 500 or 1,000 images to train on, made by ``small_sets.py``. On each the command tunes as a user
would; it then trains with the defaults and with the best settings on all images to train on, and compares them on the
set's test images, which no trial saw. Told are both accuracies and their difference with its standard error over the
images: 0 where the folds agreed on no other settings, so that the defaults stay. The test parts choose nothing. The
same command goes on after an interrupt.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from small_sets import COCO_CLASSES, SETS, Small, coco_objects, digits, write_set

from mixtransfer.tune.commands import run_tuning
from mixtransfer.tune.options import TuneOptions

OWN_SETS = {
    "cifar-10x50": SETS["cifar-10x50"],
    "digits-10x50": Small(digits, 50, 100),
    "coco-6x80": Small(coco_objects, 80, 150, COCO_CLASSES),
    "food": SETS["food"],
}
CONFIDENCE = 1.96  # standard errors on each side of a 95 % interval


def measured(name: str, given: argparse.Namespace) -> dict:
    """A row of the table."""
    data = given.output / "sets" / name
    write_set(OWN_SETS[name], given.data_root, data)
    shared = {name: getattr(given, name) for name in ("backbone", "trials", "epochs", "image_size", "seed")}
    folder = given.output / "studies" / f"{name}-{given.seed}"
    options = replace(TuneOptions(), data=str(data), output=str(folder), workers=0, **shared)
    found = json.loads((run_tuning(options) / "tune.json").read_text())
    row = {"set": name, "trials": found["tried"], "ended early": found["ended_early"], "gain on folds": found["gain"]}
    if found["test"] is None:
        return row | {"difference": 0.0, "standard error": 0.0, "best": "the defaults"}
    tested, best, default = found["test"], found["best"]["settings"], found["default"]["settings"]
    difference = tested["difference"]
    return row | {
        "test images": tested["images"],
        "top1 defaults": tested["default"]["value"],
        "top1 best": tested["best"]["value"],
        "difference": difference["value"],
        "standard error": (difference["high"] - difference["low"]) / 2 / CONFIDENCE,
        "log loss": {kind: one["value"] for kind, one in tested["log_loss"].items()},
        "best": {key: value for key, value in best.items() if value != default[key]},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    parser.add_argument("--output", type=Path, default=Path("build/tune"))
    parser.add_argument("--sets", default=",".join(OWN_SETS), help="names, with commas between them")
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--epochs", type=int, help="of each training; by default as training chooses them")
    parser.add_argument("--image-size", type=int, help="by default it is tried too")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rows = []
    for name in given.sets.split(","):
        rows.append(measured(name, given))
        print(json.dumps(rows[-1]), flush=True)
    below = [row["set"] for row in rows if row["difference"] < -row["standard error"]]
    print(f"below the defaults by more than a standard error: {', '.join(below) or 'none'} of {len(rows)}")


if __name__ == "__main__":
    main()
