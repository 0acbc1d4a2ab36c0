"""The README, docs/ and the recipes: every command in them works, with trainings made small; every file is there."""

import ast
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from coco_sets import make_coco
from folders import make_folder, make_labelled
from PIL import Image
from serving import serving

from mixtransfer.commandline.cli import VERBS, _parsed, main

ROOT = Path(__file__).parents[1]
FOLDERS = (ROOT / "docs", ROOT / "docs" / "how-to", ROOT / "docs" / "explain")
PAGES = {
    path: path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *(page for folder in FOLDERS for page in sorted(folder.glob("*.md"))))
}
TEXT = "\n".join(PAGES.values())
RECIPES = sorted(path for path in (ROOT / "configs").rglob("*.[yp][ay]*") if path.parent.name != "common")

# What makes a command's work small: put behind a command that has these words in it, the first that fits.
SCRATCH = "--weights none --epochs 1 --image-size 32 --batch-size 16 --workers 0"
BOXES = "--weights none --iterations 2 --image-size 64 --batch-size 2 --workers 0"
SEARCH = "--budget-macs 2e6 --image-size 32 --epochs 1 --batch-size 16 --workers 0"
PAIR = "--backbones mobilenetv3_small_050,mobilenetv3_small_075 --baseline mobilenetv3_small_050 --seeds 1"
SMALL = {
    "--resume": "",
    "mixtransfer demo": "--epochs 1",
    "compare --paper": "",
    "compare runs/": "--rounds 0",
    "--budget-minutes": f"{SCRATCH.replace('--epochs 1', '--budget-minutes 0.01')} {PAIR} --rounds 1",
    "compare my-boxes": f"{BOXES} {PAIR} --rounds 0",
    "compare coco": f"{BOXES} {PAIR} --rounds 0",
    "compare": f"{SCRATCH} {PAIR} --rounds 0",
    "--unlabelled": f"{SCRATCH} --fit-head",
    "--epochs 0": SCRATCH.replace("--epochs 1", "--fit-head"),
    "classify train": SCRATCH,
    "detect train": BOXES,
    "detect demo": "--weights none --iterations 1 --images 8",
    "mixtransfer tune": f"{SCRATCH} --folds 2 --trials 2",
    "mixtransfer search": f"{SEARCH} --trials 3 --population 3",
    "benchmark": "--rounds 1 --batches 1 --threads 1",
    "bench_training": "--batch-size 2 --rounds 1 --steps 1",
    "bench_loading": "--image-size 32 --workers 0 --rounds 1",
    "bench_inference": "--rounds 1",
    "bench_finetuning": "--epochs 1 --image-size 32 --lrs 1e-3",
    "bench_detection": "--batch-size 2 --rounds 1 --steps 1",
    "bench_latency": "--backbones mobilenetv3_small_050 --image-size 32 --rounds 1",
    "bench_search": "--tiny",
    "bench_evaluation_memory": "--images 20",
    "bench_multilabel": "--seeds 1 --epochs 1 --image-size 64",
    "bench_startup": "--rounds 1",
    "bench_busy": "--backbone mobilenetv3_small_050 --images 32 --rounds 1",
    "kill_and_resume": "--kills 1",
    "fuzz_readers": "--inputs 100 --jobs 1",
}
# What a command has in it that takes long even when made small, and is left to `make slow`.
SLOW = ("python ", "configs/", "mixtransfer app", "benchmark", "--budget-minutes", "--int8")
# What a command needs that an earlier one has made.
MADE_BY = {
    "runs/flowers-mixnet_s": "classify train flowers --backbone mixnet_s",
    "runs/flowers-resnet50": "classify train flowers --backbone resnet50",
    "runs/street-mixnet_s": "classify train street.csv --backbone mixnet_s",
    "runs/my-boxes-mixnet_s": "detect train my-boxes --backbone mixnet_s",
    "runs/flowers-mixnet_s/model.xml": "export runs/flowers-mixnet_s --format openvino",
    "runs/search-flowers/backbone.json": "search flowers",
    "runs/tune-flowers/best.yaml": "tune flowers",
}
NEEDS = {  # a package that is not always there, by what a command has in it
    "detect": "detectron2", "my-boxes": "detectron2", "openvino": "openvino", ".xml": "openvino", "onnx": "onnx",
    "--int8": "nncf", "search": "optuna", "tune": "optuna", "mixtransfer app": "gradio", "--run ": "cleanlab",
}  # fmt: skip


def commands() -> list[str]:
    """Every line of the pages' shell blocks, and the command in the head of each recipe, once."""
    blocks = re.findall(r"^```sh\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    for config in RECIPES:
        lines += [line[1:] for line in config.read_text().splitlines() if line.startswith("#   mixtransfer ")]
    return list(dict.fromkeys(shlex.join(words) for line in lines if (words := shlex.split(line, comments=True))))


def makes() -> list[str]:
    """Every call of make in the pages and CONTRIBUTING.md, in blocks and in sentences."""
    texts = TEXT, (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return sorted({found for text in texts for found in re.findall(r"(?:^|`)(make [a-z][^`#\n]*)", text, re.MULTILINE)})


PYTHON = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
# What makes the work of a snippet small.
SHORTER = {
    'backbone="mixnet_s", epochs=5': 'backbone="mobilenetv3_small_050", output="runs/py", epochs=1, **SMALL',
    '"mixnet_s", num_classes=2': '"mobilenetv3_small_050", weights="none", num_classes=2',
    "max_epochs=5": "max_epochs=1, logger=False, enable_checkpointing=False",
    "batch_size=32": "batch_size=4, workers=0",
}
SMALL_TRAINING = {"weights": "none", "image_size": 32, "batch_size": 8, "workers": 0}


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with all the images that the pages speak of, and named datasets of a few images."""
    root = tmp_path_factory.mktemp("home")
    (root / "configs").symlink_to(ROOT / "configs")
    for folder, count in (("flowers", 10), ("other/flowers", 2), ("path/to/images", 10)):
        make_folder(root / folder, {"daisy": count, "poppy": count}, size=32)
    make_labelled(root, 20, size=32).rename(root / "street.csv")
    for name in ("new/a.jpg", "photos/b.jpg", "more/trip/c.png"):
        (root / name).parent.mkdir(parents=True)
        Image.new("RGB", (40, 30), "pink").save(root / name)
    film = cv2.VideoWriter(str(root / "film.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 5.0, (64, 48))
    film.write(np.zeros((48, 64, 3), np.uint8))
    film.release()
    (root / "path/to/cifar10").symlink_to(root / "data/cifar10")
    make_coco(root / "my-boxes", train=6, val=2, test=2)
    make_coco(root / "data" / "coco", train2017=6, val2017=2)
    for path in (root / "data" / "coco" / "annotations").iterdir():  # the recipes are for COCO's 80 classes
        coco = json.loads(path.read_text())
        count = len(coco["categories"])
        coco["categories"] += [{"id": 100 + i, "name": f"class {i}"} for i in range(count, 80)]
        path.write_text(json.dumps(coco))
    for name in ("cifar10", "cifar100"):
        for part in ("train", "test"):
            make_folder(root / "data" / name / part, {"cat": 10, "dog": 10}, size=32)
    _make_pets(root / "data" / "oxford-iiit-pet")
    _make_food101(root / "data" / "food-101")
    return root


def _make_pets(root: Path) -> None:
    (root / "annotations").mkdir(parents=True)
    make_folder(root, {"images": 40}, size=32)
    names = [f"{('Abyssinian', 'beagle')[number % 2]}_{number}" for number in range(40)]
    for path, name in zip(sorted((root / "images").iterdir()), names, strict=True):
        path.rename(path.with_stem(name))
    for part, chosen in (("trainval", names[:20]), ("test", names[20:])):
        lines = [f"{name} {1 + name.startswith('b')} 1 1" for name in chosen]
        (root / "annotations" / f"{part}.txt").write_text("\n".join(lines))


def _make_food101(root: Path) -> None:
    make_folder(root / "images", {"apple_pie": 20, "waffles": 20}, size=32)
    (root / "meta").mkdir()
    for part, numbers in (("train", range(10)), ("test", range(10, 20))):
        files = {name: [f"{name}/{number:03}" for number in numbers] for name in ("apple_pie", "waffles")}
        (root / "meta" / f"{part}.json").write_text(json.dumps(files))


def made_small(line: str) -> list[str]:
    return shlex.split(next((more for part, more in SMALL.items() if part in line), ""))


def run(line: str) -> None:
    """Run a command of the pages, made small, and before it what it needs."""
    for word in shlex.split(line):
        if word in MADE_BY and not Path(word).exists():
            run(f"mixtransfer {MADE_BY[word]}")
    program, *words = shlex.split(line)
    if program == "python":
        subprocess.run([sys.executable, ROOT / words[0], *words[1:], *made_small(line)], check=True)
    elif words[0] == "app":
        serve(words)
    else:
        assert main(words + made_small(line)) == 0, line
    if words == ["classify", "train", "flowers", "--backbone", "mixnet_s"]:
        assert Path("runs/flowers-mixnet_s/report.html").is_file()


def serve(words: list[str]) -> None:
    """Start the page's server, and stop it as a service manager does."""
    program = [sys.executable, "-m", "mixtransfer", *words, "--no-browser"]
    with serving(program, Path("app.txt")) as server:
        server.process.terminate()
        assert server.process.wait(timeout=60) == 0 and "Stopped." in server.log.read_text()


def as_parameter(line: str):
    slow = any(part in line for part in SLOW)
    return pytest.param(line, id=line, marks=pytest.mark.slow if slow else ())


@pytest.mark.parametrize(
    "line",
    [as_parameter(line) for line in commands() if not line.startswith("make ")],
)
def test_command_works(line, home, in_process, monkeypatch):
    for part, package in NEEDS.items():
        if part in line:
            pytest.importorskip(package, reason=f"{package} is not installed")
    monkeypatch.chdir(home)
    run(line.replace("DATA", "flowers").replace("DIR", "data"))


@pytest.mark.parametrize(
    "line", [line for line in commands() if line.startswith("mixtransfer ") and "--config runs/" not in line]
)
def test_command_parses(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = shlex.split(line)[1:]
    if any(word.endswith(".py") for word in words):
        pytest.importorskip("detectron2", reason="detectron2 is not installed: mixtransfer install-detectron2")
    _parsed(words)


@pytest.mark.parametrize("line", [line for line in commands() if line.startswith("python ")])
def test_a_tools_small_form_has_only_options_that_it_has(line):
    """That is what `make slow` runs."""
    _, tool, *rest = shlex.split(line)
    assert tool.startswith("tools/")
    source = (ROOT / tool).read_text(encoding="utf-8")
    assert all(f'"{option}"' in source for option in rest + made_small(line) if option.startswith("--"))


@pytest.mark.parametrize("line", makes())
def test_make_knows_what_to_do(line):
    subprocess.run([*shlex.split(line, comments=True), "--dry-run", "--silent"], cwd=ROOT, check=True)


@pytest.mark.parametrize("tool", sorted((ROOT / "tools").glob("*.py")), ids=lambda path: path.stem)
def test_a_tool_has_what_its_head_shows(tool):
    """Its own name, and options of its parser or of the studies'."""
    head = ast.get_docstring(ast.parse(tool.read_text(encoding="utf-8")), clean=False) or ""
    source = tool.read_text(encoding="utf-8") + (ROOT / "tools" / "studies.py").read_text(encoding="utf-8")
    for line in re.findall(r"^    (?:\.venv/bin/)?python (.*)$", head, re.MULTILINE):
        name, *rest = re.sub(r"#.*|[\[\]]", "", line).split()
        assert name == f"tools/{tool.name}"
        assert all(f'"{word}"' in source for word in rest if word.startswith("--")), line


def test_every_extra_that_is_spoken_of_can_be_installed():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has none")
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    texts = [TEXT, *(path.read_text(encoding="utf-8") for path in (ROOT / "mixtransfer").rglob("*.py"))]
    spoken = {
        extra for text in texts for found in re.findall(r"mixtransfer\[([\w,]+)\]", text) for extra in found.split(",")
    }
    assert spoken and spoken <= known.keys()


@pytest.mark.parametrize("config", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_says_the_command_that_takes_it(config):
    assert any(str(config.relative_to(ROOT)) in line.split() for line in commands())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_linked_files_exist(page):
    for path in re.findall(r"\]\((?!http|#)([^)#]+)", PAGES[page]):
        assert (page.parent / path).exists(), path


def test_every_command_is_mentioned():
    for name in VERBS:
        assert f"mixtransfer {name}" in TEXT, name


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_the_python_of_the_pages_runs(home, monkeypatch, number):
    snippet = PYTHON[number]
    if "export" in snippet:
        pytest.importorskip("onnx", reason="needs the extra mixtransfer[export]")
    monkeypatch.chdir(home)
    for long, short in SHORTER.items():
        snippet = snippet.replace(long, short)
    snippet = snippet.replace("runs/py", f"runs/py-{number}")  # each begins its own: they run in any order
    exec(snippet, {"SMALL": SMALL_TRAINING})
