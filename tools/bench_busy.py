"""Images/s of trainings on the CPU, alone and beside a busy process.

    python tools/bench_busy.py --rounds 3

Each command trains on images that are made here, alone and beside `while True: pass`, in turns; what counts is the
median of the rounds. With --default the same once more as libgomp does it if nobody sets OMP_WAIT_POLICY: threads
that wait spin. (mixtransfer leaves a value of the user's alone, and of one that libgomp does not know it takes none.)
"""

import argparse
import contextlib
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from mixtransfer.data.detection.demo import write_digits_on_photos

COMMANDS = {
    "classify train": "classify train {images} --backbone {backbone} --weights none --image-size 64 --epochs 2",
    "detect train": "detect train {boxes} --backbone {backbone} --weights none --image-size 160 --batch-size 8 "
    "--iterations 16 --eval-every 8",
    "compare": "compare {images} --backbones {backbone} --seeds 1 --rounds 0 --weights none --image-size 64 --epochs 2",
}


def write_images(root: Path, count: int) -> None:
    generator = np.random.default_rng(0)
    for part, images in (("train", count), ("val", 16), ("test", 16)):
        for i in range(images):
            folder = root / part / "ab"[i % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 255, (96, 96, 3), np.uint8)).save(folder / f"{i}.png")


@contextlib.contextmanager
def busy_processes(count: int) -> Iterator[None]:
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def images_per_second(words: list[str], policy: str | None) -> float:
    """Of a command's training, by the ``metrics.csv`` of its Run, without the first row, which warms up."""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    if policy is not None:
        environment["OMP_WAIT_POLICY"] = policy
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "mixtransfer", *words, "--output", f"{folder}/run"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
        (history,) = Path(folder).rglob("metrics.csv")
        with history.open() as file:
            speeds = [float(row["images_per_second"]) for row in csv.DictReader(file) if row["images_per_second"]]
    return statistics.median(speeds[1:] or speeds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", help=f"some of {', '.join(COMMANDS)}, with commas; by default all")
    parser.add_argument("--backbone", default="mixnet_s")
    parser.add_argument("--images", type=int, default=320, help="to classify, an epoch")
    parser.add_argument("--busy", type=int, default=1, help="busy processes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--default", action="store_true", help="measure libgomp's default too")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    policies = {"ours": None, **({"libgomp's default": ""} if options.default else {})}
    results = []
    with tempfile.TemporaryDirectory() as name:
        write_images(Path(name) / "images", options.images)
        write_digits_on_photos(Path(name) / "boxes", 64, 16)
        places = {"images": f"{name}/images", "boxes": f"{name}/boxes", "backbone": options.backbone}
        for title in options.commands.split(",") if options.commands else COMMANDS:
            words = COMMANDS[title].format(**places).split()
            speeds: dict[tuple[str, int], list[float]] = {}
            for _ in range(options.rounds):
                for policy, value in policies.items():
                    for busy in (0, options.busy):
                        with busy_processes(busy):
                            speeds.setdefault((policy, busy), []).append(images_per_second(words, value))
            for policy in policies:
                alone, beside = (statistics.median(speeds[policy, busy]) for busy in (0, options.busy))
                result = {
                    "command": title,
                    "waiting": policy,
                    "alone": alone,
                    "beside": beside,
                    "ratio": beside / alone,
                }
                results.append(result)
                if not options.json:
                    print(
                        f"{title}, {policy}: {alone:.1f} images/s alone, {beside:.1f} beside {options.busy} busy: "
                        f"{beside / alone:.2f}",
                        flush=True,
                    )
    if options.json:
        print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
