"""Is the wheel whole? Build the sdist and from it the wheel, install that elsewhere, and use it there.

    .venv/bin/python tools/check_wheel.py
    .venv/bin/python tools/check_wheel.py --fresh   # with dependencies of its own: 6 GB, many minutes

The new environment has the dependencies of the one that runs this, but not the checkout: what is not in the wheel is
missing. With --fresh it has nothing but what pip brings for the wheel: what the wheel does not ask for is missing too.
Help of every verb, the lists, the demos with the fewest steps that they take and a recipe are run in an empty folder.
"""

import argparse
import os
import site
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fresh", action="store_true", help="install the dependencies too")
    fresh = parser.parse_args().fresh
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        build(place / "dist")
        (wheel,) = (place / "dist").glob("*.whl")
        command = install(wheel, place / "environment", fresh)
        check(command, place / "elsewhere")
    print("The wheel is whole.")
    return 0


def build(target: Path) -> None:
    """The sdist, and the wheel from it and nothing else."""
    run([sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(target)], ROOT)
    (sdist,) = target.glob("*.tar.gz")
    run([sys.executable, "-m", "tarfile", "-e", str(sdist), str(target / "source")], ROOT)
    (source,) = (target / "source").iterdir()
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)], source)


def install(wheel: Path, environment: Path, fresh: bool) -> Path:
    """The command ``mixtransfer`` of a new environment."""
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    if fresh:
        run([str(python), "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt"), str(wheel)], environment)
        return environment / "bin" / "mixtransfer"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(subprocess.run([python, "-c", where], capture_output=True, text=True, check=True).stdout.strip())
    # Packages alone: a file .pth in there, such as that of an editable install, is not followed.
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    run([str(python), "-m", "pip", "install", "-q", "--no-deps", "--no-index", str(wheel)], environment)
    return environment / "bin" / "mixtransfer"


def check(command: Path, folder: Path) -> None:
    """Use it as someone would who has nothing else."""
    folder.mkdir()
    python = str(command.with_name("python"))
    where = "import mixtransfer; print(mixtransfer.__file__)"
    imported = subprocess.run([python, "-c", where], cwd=folder, capture_output=True, text=True, check=True).stdout
    if str(ROOT) in imported:
        raise SystemExit(f"error: {imported.strip()} is imported, not the wheel.")
    verbs = subprocess.run(
        [python, "-c", "from mixtransfer.commandline.cli import VERBS; print('\\n'.join(VERBS))"],
        cwd=folder, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    for verb in verbs:
        run([str(command), *verb.split(), "--help"], folder)
    write_images(python, folder / "data" / "mine")
    scratch = ["--backbone", "mobilenetv3_small_050", "--weights", "none", "--image-size", "32", "--workers", "0"]
    for words in (
        ["recipes"],
        ["models", "--family", "mixnet"],
        ["install-detectron2"],
        ["demo", "--epochs", "1"],
        ["detect", "demo", "--weights", "none", "--iterations", "1", "--images", "8"],
        ["classify", "train", "data/mine", "--config", "folder", "--epochs", "1", "--output", "run", *scratch],
        ["classify", "predict", "run", "data/mine"],
    ):
        run([str(command), *words], folder)


def write_images(python: str, folder: Path) -> None:
    code = """
import sys, pathlib
from PIL import Image
for i in range(24):
    file = pathlib.Path(sys.argv[1], ("dark", "light")[i % 2], f"{i}.png")
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (40, 40), 100 * (i % 2) + i).save(file)
"""
    run([python, "-c", code, str(folder)], folder.parents[1])


def run(words: list[str], folder: Path) -> None:
    """Run a command; its output is shown if it fails."""
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ""})
    if done.returncode:
        raise SystemExit(f"error: {' '.join(words)}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    print("ok:", " ".join([Path(words[0]).name, *words[1:]]).replace("\n", " ")[:120], flush=True)


if __name__ == "__main__":
    sys.exit(main())
