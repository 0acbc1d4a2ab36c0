"""The options of `compare`: its interface, its help and what config.yaml records."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass
class CompareOptions:
    """Compare backbones on your data: accuracy with its uncertainty, size, multiply-adds, latency measured here.

    Every backbone is trained with the same recipe, the same seeds and so the same order of the data. The winner is
    chosen on validation, the test only reports. What is finished is never repeated: the same command goes on after an
    interrupt. Runs that exist already can be compared as they are.

    Args:
        data: A dataset as `classify train` or `detect train` takes it, or two or more runs to compare untrained.
        task: What to train; of runs, what they are.
        backbones: Names from `mixtransfer models`, with commas between.
        baseline: The backbone to compare the others with; by default resnet50 or, without it, the one with the most
            multiply-adds.
        seeds: Trainings of each backbone, with the seeds 0, 1, …; one says nothing of how much a training varies, so
            that no backbone is called better.
        folds: Cut data that has no test part into this many folds, and test on each what was trained on the others:
            every image is tested once for each seed, which deals the folds anew (classify).
        margin: A difference in points that does not matter; backbones that surely differ by less are called as good.
        tune_lr: Choose each backbone's learning rate on its validation images, by three trainings a quarter as long
            (classify).
        budget_minutes: Train each for as many epochs (or iterations) as fit in this many minutes, by the time of its
            own steps on this machine with --jobs of them at a time, less its share of --tune-lr; by default all get
            the same number of epochs.
        recipe: A YAML file with further options of the training, as its --config takes.
        output: The study's folder; by default one under runs/ named after the data. A folder that holds the same study
            goes on.
        jobs: Trainings at a time. More may join from other machines: run the same command on a shared folder.
        data_root: Where named datasets live; by default data.
        weights: Where to start: imagenet (the default), none, or a file.
        epochs: Passes over the training set (classify).
        iterations: Optimizer steps (detect).
        batch_size: Images a step.
        image_size: Side of the input in pixels; by default the one that each backbone's weights were trained with.
        lr: Peak learning rate of all, instead of --tune-lr.
        workers: Image-loading processes; by default by the machine.
        limit: Name the most accurate backbone within limits, such as latency=15ms (of its fastest runtime),
            latency.onnxruntime=15ms, macs=300M, params=5M, size=20MB or memory=200MB, with commas between.
        rounds: Measurements of each latency; 0 leaves latency and memory out.
        paper: Show the ledger instead: the paper's figures and tables row by row, and what was measured of them.
        json: Print comparison.json (or the ledger) instead of tables.
    """

    data: list[str] = field(default_factory=list)
    task: Literal["classify", "detect"] = "classify"
    backbones: str = "mixnet_s,mixnet_m,mixnet_l,resnet50"
    baseline: str | None = None
    seeds: int = 3
    folds: int | None = None
    margin: float | None = None
    tune_lr: bool = False
    budget_minutes: float | None = None
    recipe: str | None = None
    output: str | None = None
    jobs: int = 1
    data_root: str | None = None
    weights: str | None = None
    epochs: int | None = None
    iterations: int | None = None
    batch_size: int | None = None
    image_size: int | None = None
    lr: float | None = None
    workers: int | None = None
    limit: str | None = None
    rounds: int = 30
    paper: bool = False
    json: bool = False
