"""Whether a search is worth it: what it found against random networks and a scaled MixNet-S, each trained alone.

    python tools/bench_search.py --data path/to/cifar10 --output runs/bench-search
    python tools/bench_search.py --data path/to/cifar10 --output runs/bench-start --start RUN --networks 0 --free 0
    python tools/bench_search.py --data path/to/cifar10 --output runs/bench-search --tiny  # to see that it works

From an image folder with train/ and test/ it takes --images training images, searches with `mixtransfer search`, and
trains from scratch, with one recipe by `mixtransfer classify train`: the found network, MixNet-S scaled by its width to
the found one's multiply-adds, --networks random networks of the same space with those multiply-adds within 5 %, and
--free random ones of any. result.json has:

- supernet: mean and least accuracy of 30 random networks by its weights, on the validation images; its minutes;
- every network's accuracy and log loss on the test images when trained alone; the found one against the median of the
  random ones of the same cost, in standard errors, and against MixNet-S with the interval of the difference;
- rank: Spearman's correlation of the log loss alone with the supernet's, the predictor's, synflow and multiply-adds,
  over the free networks and over those of one cost, with 95 % intervals (bootstrap over networks);
- start, with --start RUN: mean log loss of 30 random networks of the space that is cut from it, after --epochs-start
  passes from scratch and after a fifth of them from the run's weights.

What is finished is not repeated. With several at once in the same --output, each trains other networks.
"""

import argparse
import json
import math
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from filelock import FileLock, Timeout
from scipy.stats import spearmanr

from mixtransfer.backbones import Architecture, architecture_spec, create_backbone
from mixtransfer.backbones.architecture import Block, read_architecture
from mixtransfer.backbones.describe import describe_backbone
from mixtransfer.classification.answers import read_answers
from mixtransfer.classification.datamodule import EvaluationData, ImageDataModule
from mixtransfer.classification.model import model_bytes, open_classifier
from mixtransfer.commandline.cli import main as mixtransfer
from mixtransfer.common.files import write_atomic
from mixtransfer.comparison.statistics import paired_difference
from mixtransfer.data.augment import Augment
from mixtransfer.data.load import load_dataset
from mixtransfer.data.preprocessing import Normalize, Preprocessing
from mixtransfer.runs.run import Run
from mixtransfer.search.elastic import ElasticNetwork
from mixtransfer.search.options import SearchOptions
from mixtransfer.search.ranking import Predictor
from mixtransfer.search.scoring import Scorer
from mixtransfer.search.space import Decisions, Space
from mixtransfer.search.start import open_start
from mixtransfer.search.training import load_elastic, train_elastic

TOLERANCE = 0.05  # of the multiply-adds
TEST = 5000  # images
VALIDATION = 0.2  # share of the training images that choose
SAMPLED = 30  # random networks whose mean says how good a supernet is
DRAWS = 2000  # of a bootstrap


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="image folder with train/ and test/")
    parser.add_argument("--output", default="runs/bench-search")
    parser.add_argument("--images", type=int, default=5000, help="training images, the validation part included")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--budget-macs", type=float, default=3e6)
    parser.add_argument("--supernet-epochs", type=int, default=40)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--networks", type=int, default=20, help="random networks of the found one's multiply-adds")
    parser.add_argument("--free", type=int, default=20, help="random networks of any")
    parser.add_argument("--epochs", type=int, default=10, help="of each network's own training")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--start", help="a run of a MixNet, to see what an elastic start is worth")
    parser.add_argument("--epochs-start", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tiny", action="store_true", help="few images, epochs and networks")
    options = parser.parse_args()
    if options.tiny:
        options.images, options.supernet_epochs, options.trials, options.epochs = 600, 2, 24, 1
        options.networks, options.free, options.epochs_start = min(3, options.networks), min(3, options.free), 5
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".data.lock"):
        if not (folder / "data").exists():
            most = {"train": options.images, "test": TEST // 10 if options.tiny else TEST}
            copy_subset(Path(options.data), most, folder / "data")
    result = {"options": vars(options), "torch": torch.__version__}
    if options.start:
        result["start"] = measure_start(options)
    else:
        result |= measure_search(options)
    write_atomic(folder / "result.json", json.dumps(result, indent=2) + "\n")
    print(json.dumps({key: value for key, value in result.items() if key != "networks"}, indent=2))


def measure_search(options: argparse.Namespace) -> dict[str, Any]:
    folder = Path(options.output)
    began = time.perf_counter()
    run(
        "search", folder / "data", *size_words(options), "--budget-macs", options.budget_macs, "--epochs",
        options.supernet_epochs, "--trials", options.trials, "--batch-size", options.batch_size, "--output",
        folder / "search",
    )  # fmt: skip
    minutes = (time.perf_counter() - began) / 60
    classes = sum(path.is_dir() for path in (folder / "data" / "train").iterdir())
    space = Space.for_budget(options.budget_macs, options.image_size, classes)
    found = json.loads((folder / "search" / "search.json").read_text())
    best = sorted((folder / "search" / "front").iterdir(), key=lambda file: read_architecture(file).macs())[-1]
    networks = {"found": read_architecture(best)}
    wanted = networks["found"].macs(num_classes=space.num_classes)
    networks["mixnet_s"] = scaled_mixnet(space, wanted)
    generator, decisions = np.random.default_rng(options.seed + 1), {}
    for kind, count in (("free", options.free), ("random", options.networks)):
        while sum(name.startswith(kind) for name in networks) < count:
            drawn = space.sample(generator)
            name = f"{kind}-{sum(name.startswith(kind) for name in networks)}"
            architecture = space.architecture(drawn, name)
            macs = architecture.macs(num_classes=space.num_classes)
            if kind == "free" or abs(macs / wanted - 1) <= TOLERANCE:
                networks[name], decisions[name] = architecture, drawn
    alone = train_alone(networks, options)
    network, scorer = supernet_of(space, folder / "search" / "supernet.safetensors", options)
    losses = {name: scorer.score(scorer.network(space.architecture(one))).loss for name, one in decisions.items()}
    sampled = sample_scores(space, scorer)
    result: dict[str, Any] = {
        "minutes": minutes,  # of this call
        "supernet": {"mean_top1": float(np.mean(sampled["top1"])), "least_top1": min(sampled["top1"])},
        "reliability": found["ranking"],
        "networks": {
            name: {
                "macs": one.macs(num_classes=classes),
                **alone[name],
                "supernet_loss": losses.get(name),
                "blocks": one.blocks,
            }
            for name, one in networks.items()
        },
    }
    others = np.array([alone[name]["top1"] for name in networks if name.startswith("random")])
    if len(others):
        best_top1, n = alone["found"]["top1"], alone["found"]["images"]
        error = float(
            np.hypot(np.sqrt(best_top1 * (1 - best_top1) / n), 1.2533 * others.std(ddof=1) / len(others) ** 0.5)
        )
        result["found_against_random"] = {
            "found": best_top1, "median": float(np.median(others)), "best": float(others.max()),
            "standard_errors": float((best_top1 - np.median(others)) / error),
        }  # fmt: skip
    result["found_against_mixnet_s"] = paired(folder / "found", folder / "mixnet_s")
    predict = Predictor(space, *scored_decisions(folder / "search"))
    result["rank"] = {}
    for kind in ("free", "random"):
        names = [name for name in networks if name.startswith(kind)]
        if len(names) < 3:
            continue
        truth = [alone[name]["loss"] for name in names]
        says: dict[str, list[float]] = {
            "supernet": [losses[name] for name in names],
            "predictor": [float(loss) for loss in predict([decisions[name] for name in names])],
            "macs": [-float(networks[name].macs()) for name in names],
            "synflow": [-synflow(networks[name], options.image_size) for name in names],
        }
        result["rank"][kind] = {name: correlation(values, truth) for name, values in says.items()}
    return result


def measure_start(options: argparse.Namespace) -> dict[str, Any]:
    """An elastic network from a run's weights against the same one from scratch."""
    folder = Path(options.output)
    dataset = load_dataset(str(folder / "data"), val_fraction=VALIDATION, check=False)
    start = open_start(options.start, dataset, print)
    space = Space.of_trained(start.architecture, options.image_size, len(dataset.classes))
    preprocessing = Preprocessing(size=options.image_size)
    result = {}
    for name, epochs in (("scratch", options.epochs_start), ("start", max(1, options.epochs_start // 5))):
        weights = folder / f"{name}.safetensors"
        torch.manual_seed(options.seed)
        network = ElasticNetwork(space, start.network if name == "start" else None)
        network = network.to(memory_format=torch.channels_last)
        if name == "start":
            start.fill_classifier(network, dataset.classes)
        began = time.perf_counter()
        if not weights.exists():
            augment = Augment("crop-flip", options.image_size)
            data = ImageDataModule(dataset, preprocessing, augment, options.batch_size, 0, options.seed)
            how = SearchOptions(
                str(folder / "data"), epochs=epochs, image_size=options.image_size, batch_size=options.batch_size,
                seed=options.seed, augment="crop-flip", workers=0,
            )  # fmt: skip
            train_elastic(network, data, how, Run(folder / name), print)
            write_atomic(weights, model_bytes(network))
        load_elastic(network, weights)
        scorer = Scorer(network, dataset, preprocessing, torch.device("cpu"), 0)
        sampled = sample_scores(space, scorer)
        result[name] = {
            "epochs": epochs, "minutes": (time.perf_counter() - began) / 60,
            "mean_loss": float(np.mean(sampled["loss"])), "mean_top1": float(np.mean(sampled["top1"])),
            "largest_top1": scorer.score(scorer.network(network.largest)).top1,
        }  # fmt: skip
    return result


def size_words(options: argparse.Namespace) -> list[object]:
    return [
        "--image-size", options.image_size, "--seed", options.seed, "--augment", "crop-flip", "--val-fraction",
        VALIDATION, "--workers", 0,
    ]  # fmt: skip


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


def train_alone(networks: dict[str, Architecture], options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Each network's scores on the test images, trained from scratch; waits for those that others train."""
    folder = Path(options.output)
    left = list(networks)
    while left:
        for name in list(left):
            trained = Run(folder / name)
            try:
                with FileLock(folder / f".{name}.lock").acquire(timeout=0):
                    if "test" not in trained.read_metrics():
                        write_atomic(folder / f"{name}.json", json.dumps(networks[name].to_dict()))
                        words = ["--resume", trained.folder] if Run.is_run(trained.folder) else [
                            folder / "data", "--backbone", folder / f"{name}.json", "--weights", "none",
                            *size_words(options), "--epochs", options.epochs, "--batch-size", options.batch_size,
                            "--output", trained.folder,
                        ]  # fmt: skip
                        run("classify", "train", *words)
                    left.remove(name)
            except Timeout:
                time.sleep(1)
    return {name: test_scores(folder / name, folder / "data", options) for name in networks}


@torch.inference_mode()
def test_scores(trained: Path, data: Path, options: argparse.Namespace) -> dict[str, float]:
    """Accuracy and log loss of a run on the test images."""
    classifier = open_classifier(trained)
    test = load_dataset(str(data), val_fraction=VALIDATION, check=False).test
    normalize, batches = Normalize(classifier.preprocessing), EvaluationData(classifier.preprocessing, workers=0)
    answers = [(classifier.model(normalize(x)), labels) for x, labels, _ in batches.evaluation_loader(test)]
    logits, labels = map(torch.cat, zip(*answers, strict=True))
    right = (logits.argmax(1) == labels).double().mean()
    return {"top1": float(right), "loss": float(F.cross_entropy(logits, labels)), "images": len(labels)}


def scaled_mixnet(space: Space, macs: int) -> Architecture:
    """MixNet-S with as many multiply-adds, by its width, and the strides of a space."""
    whole = describe_backbone("mixnet_s")

    def scaled(width: float) -> Architecture:
        def rounded(channels: int) -> int:
            return max(8, round(channels * width / 8) * 8)

        stages = []
        for i, stage in enumerate(whole.blocks):
            stride = space.stages[i - 1].frames[0].stride if i else 1
            texts = []
            for j, text in enumerate(stage):
                block = Block.parse(text)
                fields = {**vars(block), "channels": rounded(block.channels), "stride": stride if j == 0 else 1}
                texts.append(str(Block(**fields)))
            stages.append(tuple(texts))
        head = max(8, round(whole.head * min(1, width) / 8) * 8)
        return Architecture("mixnet_s-scaled", rounded(whole.stem), tuple(stages), head, space.image_size)

    widths = np.linspace(0.1, 3, 291)
    return min(map(scaled, widths), key=lambda one: abs(one.macs(num_classes=space.num_classes) - macs))


def supernet_of(space: Space, weights: Path, options: argparse.Namespace) -> tuple[ElasticNetwork, Scorer]:
    network = ElasticNetwork(space).to(memory_format=torch.channels_last)
    load_elastic(network, weights)
    dataset = load_dataset(str(Path(options.output) / "data"), val_fraction=VALIDATION, check=False)
    return network, Scorer(network, dataset, Preprocessing(size=options.image_size), torch.device("cpu"), 0)


def sample_scores(space: Space, scorer: Scorer) -> dict[str, list[float]]:
    generator = np.random.default_rng(10_000)
    scores = [scorer.score(scorer.network(space.architecture(space.sample(generator)))) for _ in range(SAMPLED)]
    return {"top1": [one.top1 for one in scores], "loss": [one.loss for one in scores]}


def scored_decisions(folder: Path) -> tuple[list[Decisions], list[float]]:
    """What the search scored."""
    import optuna

    study = optuna.load_study(study_name="search", storage=f"sqlite:///{folder / 'trials.sqlite3'}")
    trials = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    return [trial.params for trial in trials], [trial.values[0] for trial in trials]


def synflow(architecture: Architecture, image_size: int) -> float:
    """A score without data (Tanaka et al., NeurIPS 2020; as a proxy Abdelfattah et al., ICLR 2021): log of the sum of
    weights times their gradients, all weights positive, of an image of ones."""
    network = create_backbone(architecture_spec(architecture), "none", 10).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()
    network(torch.ones(1, 3, image_size, image_size, dtype=torch.float64)).sum().backward()
    return math.log(sum(float((p * p.grad).sum()) for p in network.parameters() if p.grad is not None))


def correlation(some: list[float], others: list[float]) -> dict[str, Any]:
    """Spearman's ρ and its 95 % interval."""
    pairs, generator = np.array([some, others]), np.random.default_rng(0)
    draws = [spearmanr(*pairs[:, generator.integers(0, len(some), len(some))]).statistic for _ in range(DRAWS)]
    return {"rho": float(spearmanr(some, others).statistic), "interval": np.nanpercentile(draws, [2.5, 97.5]).tolist()}


def paired(some: Path, others: Path) -> dict[str, Any]:
    """Difference of accuracy on the same test images, with its 95 % interval."""
    first, second = (read_answers(Run(folder).test_predictions).hits[None] for folder in (some, others))
    difference = paired_difference(first, second).estimate
    return {"found": float(first.mean()), "mixnet_s": float(second.mean()), "difference": difference.to_dict()}


if __name__ == "__main__":
    main()
