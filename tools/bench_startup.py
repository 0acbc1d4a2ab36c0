"""CPU time of starting, beyond Python's own: importing the package, asking for help, a mistyped option.

    python tools/bench_startup.py

Each command runs in turns in a process of its own; user and system time are counted, the median is taken, and that of
an empty program subtracted. Prints JSON: seconds, and the heavy libraries that were imported, which should be none.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

HELP = "from mixtransfer.commandline.cli import main\ntry:\n    main({})\nexcept SystemExit:\n    pass"
PROGRAMS = {
    "import mixtransfer": "import mixtransfer",
    "mixtransfer --help": HELP.format(["--help"]),
    "mixtransfer classify train --help": HELP.format(["classify", "train", "--help"]),
    "mixtransfer classify train --lr fast": HELP.format(["classify", "train", "--lr", "fast"]),
}
HEAVY = ("torch", "timm", "lightning", "torchvision", "albumentations", "detectron2", "sklearn", "scipy", "matplotlib")


def cpu_seconds(program: str) -> float:
    before = os.times()
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def heavy_imports(program: str) -> list[str]:
    told = f"{program}\nimport sys\nprint(*[name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    answer = subprocess.run([sys.executable, "-c", told], check=True, capture_output=True, text=True)
    return answer.stderr.splitlines()[-1].split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    measured: dict[str, list[float]] = {name: [] for name in ("python", *PROGRAMS)}
    for _ in range(options.rounds + 1):
        for name in measured:
            measured[name].append(cpu_seconds(PROGRAMS.get(name, "pass")))
    medians = {name: statistics.median(seconds[1:]) for name, seconds in measured.items()}  # the first fills caches
    result = {
        name: {"cpu_seconds": round(medians[name] - medians["python"], 3), "heavy": heavy_imports(program)}
        for name, program in PROGRAMS.items()
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
