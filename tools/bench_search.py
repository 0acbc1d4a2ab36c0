"""Whether a search is worth it: the found network against 20 random ones of the same multiply-adds, each trained alone.

    python tools/bench_search.py --data path/to/cifar10 --output runs/bench-search
    python tools/bench_search.py --data path/to/cifar10 --output runs/bench-search --tiny  # to see that it works

From an image folder with train/ and test/ it takes --images training images, searches with `mixtransfer search`, draws
networks of the same space at random until 20 have the found network's multiply-adds within 5 %, and trains all with
the same recipe by `mixtransfer classify train`, from scratch. result.json has every accuracy on the test images, the
median of the random networks, how many of them the found one beats, and Kendall's tau between what the supernet says
of the networks and what they reach alone. What is finished is not repeated.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from scipy.stats import kendalltau

from mixtransfer.backbones import Architecture
from mixtransfer.backbones.architecture import read_architecture
from mixtransfer.cli import main as mixtransfer
from mixtransfer.data.load import load_dataset
from mixtransfer.data.preprocessing import Preprocessing
from mixtransfer.files import write_atomic
from mixtransfer.run import Run
from mixtransfer.search.scoring import Scorer
from mixtransfer.search.space import Space
from mixtransfer.search.supernet import Supernet
from mixtransfer.search.training import load_supernet

TOLERANCE = 0.05  # of the multiply-adds
TEST = 5000  # images
VALIDATION = 0.2  # share of the training images that choose


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="image folder with train/ and test/")
    parser.add_argument("--output", default="runs/bench-search")
    parser.add_argument("--images", type=int, default=6000, help="training images, the validation part included")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--budget-macs", type=float, default=3e6)
    parser.add_argument("--supernet-epochs", type=int, default=15)
    parser.add_argument("--trials", type=int, default=150)
    parser.add_argument("--networks", type=int, default=20, help="random networks")
    parser.add_argument("--epochs", type=int, default=5, help="of each network's own training")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tiny", action="store_true", help="few images, epochs and networks")
    options = parser.parse_args()
    if options.tiny:
        options.images, options.supernet_epochs, options.trials, options.networks, options.epochs = 600, 2, 20, 3, 1
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "data"
    if not data.exists():
        copy_subset(Path(options.data), {"train": options.images, "test": TEST // 10 if options.tiny else TEST}, data)
    size = [
        "--image-size",
        options.image_size,
        "--seed",
        options.seed,
        "--augment",
        "crop-flip",
        "--val-fraction",
        VALIDATION,
    ]
    run(
        "search", data, *size, "--budget-macs", options.budget_macs, "--epochs", options.supernet_epochs,
        "--trials", options.trials, "--batch-size", options.batch_size, "--output", folder / "search",
    )  # fmt: skip
    found = read_architecture(folder / "search" / "backbone.json")
    networks = {"found": found, **random_networks(found, options)}
    accuracies = {}
    for name, network in networks.items():
        write_atomic(folder / f"{name}.json", json.dumps(network.to_dict()))
        trained = Run(folder / name)
        if "test" not in trained.read_metrics():
            words = ["--resume", trained.folder] if Run.is_run(trained.folder) else [
                data, "--backbone", folder / f"{name}.json", "--weights", "none", *size, "--epochs", options.epochs,
                "--batch-size", options.batch_size, "--output", trained.folder,
            ]  # fmt: skip
            run("classify", "train", *words)
        accuracies[name] = trained.read_metrics()["test"]["top1"]["value"]
    scores = supernet_scores(networks, data, options)
    result = summary(networks, accuracies, scores, options)
    write_atomic(folder / "result.json", json.dumps(result, indent=2) + "\n")
    print(json.dumps({key: value for key, value in result.items() if key != "networks"}, indent=2))


def run(*words: object) -> None:
    """A command of mixtransfer; ends the tool if it fails."""
    line = [str(word) for word in words]
    print("mixtransfer", *line, flush=True)
    if code := mixtransfer(line):
        sys.exit(code)


def copy_subset(root: Path, images: dict[str, int], folder: Path) -> None:
    """Copy the first images of each part, the same number of each class."""
    unfinished = folder.with_name(f"{folder.name}.part")
    for part, most in images.items():
        classes = sorted(path for path in (root / part).iterdir() if path.is_dir())
        for one in classes:
            target = unfinished / part / one.name
            target.mkdir(parents=True, exist_ok=True)
            for file in sorted(one.iterdir())[: most // len(classes)]:
                shutil.copy(file, target)
    unfinished.rename(folder)


def random_networks(found: Architecture, options: argparse.Namespace) -> dict[str, Architecture]:
    """Networks of the search's space with the found one's multiply-adds, as they come at random."""
    space = search_space(options)
    wanted = found.macs(num_classes=space.num_classes)
    generator = np.random.default_rng(options.seed + 1)
    networks: dict[str, Architecture] = {}
    while len(networks) < options.networks:
        network = space.architecture(space.sample(generator), f"random-{len(networks)}")
        if abs(network.macs(num_classes=space.num_classes) / wanted - 1) <= TOLERANCE:
            networks[network.name] = network
    return networks


def search_space(options: argparse.Namespace) -> Space:
    classes = sum(path.is_dir() for path in (Path(options.output) / "data" / "train").iterdir())
    return Space.for_budget(options.budget_macs, options.image_size, classes)


def supernet_scores(networks: dict[str, Architecture], data: Path, options: argparse.Namespace) -> dict[str, float]:
    """What the search's supernet says of each network, on its validation images."""
    supernet = Supernet(search_space(options)).to(memory_format=torch.channels_last)
    load_supernet(supernet, Path(options.output) / "search" / "supernet.safetensors")
    dataset = load_dataset(str(data), val_fraction=VALIDATION, check=False)
    scorer = Scorer(supernet, dataset, Preprocessing(size=options.image_size), torch.device("cpu"), None)
    return {name: scorer.top1(scorer.network(network)) for name, network in networks.items()}


def summary(
    networks: dict[str, Architecture],
    accuracies: dict[str, float],
    scores: dict[str, float],
    options: argparse.Namespace,
) -> dict:
    random = [accuracies[name] for name in networks if name != "found"]
    order = list(networks)
    tau = kendalltau([scores[name] for name in order], [accuracies[name] for name in order])
    classes = search_space(options).num_classes
    return {
        "found": accuracies["found"],
        "median_of_random": float(np.median(random)),
        "best_of_random": max(random),
        "random_beaten": sum(accuracies["found"] > one for one in random),
        "random": len(random),
        "kendall_tau": round(float(tau.statistic), 3),
        "torch": torch.__version__,
        "options": vars(options),
        "networks": {
            name: {
                "test_top1": accuracies[name],
                "supernet_top1": scores[name],
                "macs": network.macs(num_classes=classes),
                "blocks": network.blocks,
            }
            for name, network in networks.items()
        },
    }


if __name__ == "__main__":
    main()
