"""What learning from a larger network's answers brings, on small sets of images.

    python tools/bench_teacher.py --data-root data --output build/teacher --sets food,cifar-10x50 --seeds 3

On each set of ``small_sets.py`` a teacher is trained at a larger size, once. The student is trained with the defaults
alone, and with the teacher at each of --weights, by every seed. Told are the log loss on the images to validate on, by
which a weight is to be chosen, and the accuracy on the test images, which choose nothing: means over the seeds, and of
what the teacher adds the standard error over the images. The same command goes on after an interrupt.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from bench_defaults import answers, trained
from small_sets import SETS, write_set

from mixtransfer.runs.run import Run


def described(runs: list[Run], alone: list[Run]) -> dict:
    """A row of the table: what one weight gives."""
    metrics = [run.read_metrics() for run in runs]
    gains = np.mean([answers(run)[0] - answers(one)[0] for run, one in zip(runs, alone, strict=True)], axis=0)
    return {
        "validation top1": np.mean([one["validation"]["top1"]["value"] for one in metrics]),
        "validation log loss": np.mean([one["log_loss"]["validation"]["value"] for one in metrics]),
        "test top1": np.mean([one["test"]["top1"]["value"] for one in metrics]),
        "gain": gains.mean(),
        "standard error": gains.std(ddof=1) / len(gains) ** 0.5,
        "share kept": [one["training"]["fine_tuned_share"] for one in metrics],
        "seconds": np.mean([one["training"]["seconds"] for one in metrics]),
    }


def measured(name: str, given: argparse.Namespace) -> None:
    """Train on a set, and print its rows."""
    data, runs = given.output / "sets" / name, given.output / "runs"
    write_set(SETS[name], given.data_root, data)
    size = given.teacher_size
    teacher = trained(data, runs / f"{name}-teacher", backbone=given.teacher, image_size=size, workers=0)
    score = teacher.read_metrics()["test"]["top1"]["value"]
    print(json.dumps({"set": name, "teacher": given.teacher, "test top1": score}), flush=True)
    shared = {"backbone": given.student, "weights": given.student_weights, "image_size": given.student_size}

    def students(kind: str, **more) -> list[Run]:
        places = [runs / f"{name}-{kind}-{seed}" for seed in range(given.seeds)]
        return [trained(data, place, seed=seed, workers=0, **shared, **more) for seed, place in enumerate(places)]

    alone = students("alone")
    rows = {"alone": described(alone, alone)}
    for weight in map(float, given.weights.split(",")):
        taught = students(f"taught-{weight:g}", teacher=str(teacher.folder), teacher_weight=weight)
        rows[f"teacher's share {weight:g}"] = described(taught, alone)
    for kind, row in rows.items():
        shown = {key: round(v, 4) if isinstance(v, float) else v for key, v in row.items()}
        print(json.dumps({"set": name, "student": kind, **shown}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    parser.add_argument("--output", type=Path, default=Path("build/teacher"))
    parser.add_argument("--sets", default="food,cifar-10x50", help="names, with commas between them")
    parser.add_argument("--teacher", default="efficientnet_lite0", help="its backbone")
    parser.add_argument("--teacher-size", type=int, default=160)
    parser.add_argument("--student", default="efficientnet_lite0")
    parser.add_argument("--student-weights", default="imagenet", help="see --weights of classify train")
    parser.add_argument("--student-size", type=int, default=96)
    parser.add_argument("--weights", default="0.25,0.5,0.75", help="of the teacher, with commas between them")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    for name in given.sets.split(","):
        measured(name, given)


if __name__ == "__main__":
    main()
