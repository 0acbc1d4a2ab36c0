"""What fine-tuning with the defaults brings over the head on frozen features, on small sets of images.

    python tools/bench_defaults.py --data-root data --output build/defaults --seeds 3 --image-size 160

Each set of ``small_sets.py`` is trained with ``classify train`` and no option but the backbone, the seed and, if it is
given, the image size, and once more with --epochs 0, which is the head alone. The same command goes on after an
interrupt. The test parts choose nothing.

Gains are of the same test images, averaged over the seeds, in points, with the standard error over images. A
calibration error is never 0, not even of answers that are perfectly calibrated, because its bins hold few images: the
column beside it is what such answers would have.
"""

import argparse
import csv
import json
from pathlib import Path

import numpy as np
from small_sets import SETS, write_set

from mixtransfer.classification.metrics import calibration_error
from mixtransfer.classification.options import TrainOptions
from mixtransfer.classification.train import train
from mixtransfer.runs.run import Run


def trained(data: Path, output: Path, **options) -> Run:
    """The finished run in a folder, which is trained if it is not."""
    run = Run(output)
    if not Run.is_run(output):
        train(TrainOptions(str(data), output=str(output), **options))
    elif "test" not in run.read_metrics():
        train(TrainOptions(resume=str(output)))
    return run


def answers(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Whether each test image was right, and how sure the answer was."""
    with run.test_predictions.open(encoding="utf-8", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["image"])
    hits = np.array([row["class"] == row["predicted"] for row in rows], dtype=float)
    return hits, np.array([float(row["confidence"]) for row in rows])


def chance_error(confidence: np.ndarray, draws: int = 200) -> float:
    """The mean calibration error of perfectly calibrated answers that are as sure."""
    generator = np.random.default_rng(0)
    hits = generator.random((draws, len(confidence))) < confidence
    return float(np.mean([calibration_error(confidence, own) for own in hits]))


def compared(name: str, heads: list[Run], tuned: list[Run]) -> dict:
    """A row of the table: fractions, but for names and counts."""
    pairs = [(answers(head)[0], *answers(run)) for head, run in zip(heads, tuned, strict=True)]
    gains = np.mean([hits - before for before, hits, _ in pairs], axis=0)
    metrics = [run.read_metrics() for run in tuned]
    losses = [one["log_loss"] for one in metrics]
    return {
        "set": name,
        "test images": len(gains),
        "head": np.mean([before.mean() for before, _, _ in pairs]),
        "tuned": np.mean([hits.mean() for _, hits, _ in pairs]),
        "gain": gains.mean(),
        "standard error": gains.std(ddof=1) / len(gains) ** 0.5,
        "calibration error": np.mean([calibration_error(sure, hits) for _, hits, sure in pairs]),
        "by chance": np.mean([chance_error(sure) for _, _, sure in pairs]),
        "share kept": [one["training"]["fine_tuned_share"] for one in metrics],
        "log losses agree": sum(
            one["validation"]["low"] <= one["test"]["high"] and one["test"]["low"] <= one["validation"]["high"]
            for one in losses
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    parser.add_argument("--output", type=Path, default=Path("build/defaults"))
    parser.add_argument("--sets", default=",".join(SETS), help="names, with commas between them")
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--image-size", type=int, help="by default as training chooses it")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    rows = []
    for name in given.sets.split(","):
        data = given.output / "sets" / name
        write_set(SETS[name], given.data_root, data)
        runs: dict[str, list[Run]] = {"head": [], "tuned": []}
        for seed in range(given.seeds):
            for kind, epochs in (("head", 0), ("tuned", None)):
                output = given.output / "runs" / f"{name}-{seed}-{kind}"
                options = {"backbone": given.backbone, "image_size": given.image_size, "seed": seed, "epochs": epochs}
                runs[kind].append(trained(data, output, **options))
        rows.append(compared(name, runs["head"], runs["tuned"]))
        print(json.dumps({key: round(v, 4) if isinstance(v, float) else v for key, v in rows[-1].items()}), flush=True)
    print(f"mean gain {100 * np.mean([row['gain'] for row in rows]):.2f} points over {len(rows)} sets")


if __name__ == "__main__":
    main()
